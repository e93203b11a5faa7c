"""The demo, from the first directory to the last farewell.

    world ▶ database and account ▶ service ▶ submissions, one after the other ▶ table ▶ stay, or compare and end

It must never leave anything behind, and never claim more than it has seen: every line of the table comes from the
service's own record (``mta explain``), from the client's replies, or from what the receivers took.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.live import Live

from mta.demo import proofs
from mta.demo.board import Board
from mta.demo.cases import CASES
from mta.demo.follow import follow
from mta.demo.record import look
from mta.demo.running import database, open_account, service
from mta.demo.submit import SubmissionLogin, submit
from mta.demo.world import World, create, new_directory
from mta.mail.identity import format_id
from mta.store.store import Store

RETRY_ONCE = ("1s", "2s", "4s")
RETRY_STAYING = ("5s", "10s", "30s", "1m")
ENOUGH = 25.0  # seconds for everything to come to what it should
LOOK_EVERY = 0.2

_HINTS = """
[bold]Submit by hand[/] (the far end knows inbox.example, club.example, tarpit.example and demo.example; local parts
that start with unknown, full, grey, slow, busy, blocked, spam or later get what they say):

  swaks --server 127.0.0.1:{port} --auth-user {user} --auth-password {secret} \\
        --from desk@demo.example --to ann@inbox.example --header 'Subject: by hand'

  python3 -c "import smtplib; s = smtplib.SMTP('127.0.0.1', {port}); s.login('{user}', '{secret}'); \\
    s.sendmail('desk@demo.example', 'full@club.example', 'From: desk@demo.example\\r\\n\\r\\nhello')"

[bold]Look[/] (in another terminal):

  export MTA_CONFIG={config}
  {mta} top            {mta} queue            {mta} queue list
  {mta} explain {id}
  {mta} trace --contains inbox.example
  curl -s http://127.0.0.1:{web}/metrics | grep imprimatur_recipients

[dim]What happens from now on is shown below. Ctrl-C ends everything and leaves nothing.[/]
"""


async def play(*, once: bool, console: Console) -> bool:
    """The whole demo. True if everything came to what it should; raises DemoError, OSError, EmbeddedError."""
    async with AsyncExitStack() as stack:
        stack.enter_context(_ending_by_signal())
        console.print("Starting receivers, a name server, a database and the service, all on this machine ...")
        directory = new_directory()
        running = await stack.enter_async_context(service(directory))
        world = await create(directory, retry=RETRY_ONCE if once else RETRY_STAYING, known_ports=not once)
        stack.push_async_callback(world.close)
        store = await stack.enter_async_context(database(world))
        login = await open_account(store)
        stack.push_async_callback(running.stop)
        await running.start(world)
        board = Board(CASES)
        await _perform(world, store, login, board, console)
        differences = list(board.differences())
        for line in differences:
            console.print(f"[red]differs:[/] {line}")
        if not once:
            _say_where_to_look(world, login, board, console)
            await follow(world.events, console)
        return not differences


async def _perform(world: World, store: Store, login: SubmissionLogin, board: Board, console: Console) -> None:
    """Submit every case and watch until all is as it should be, or enough time has passed."""
    with contextlib.ExitStack() as stack:
        if console.is_terminal:
            stack.enter_context(
                Live(get_renderable=lambda: board.table(console.width), console=console, refresh_per_second=4)
            )
        watcher = asyncio.create_task(_watch(store, board))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(ENOUGH):
                await _submit_all(world, login, board)
                await board.until(lambda: board.complete)
                await proofs.wait_for_notice(world)
        watcher.cancel()
        await asyncio.wait([watcher])
        board.proofs = await proofs.collect(world, store)
    if not console.is_terminal:
        console.print(board.table(console.width))


async def _submit_all(world: World, login: SubmissionLogin, board: Board) -> None:
    for case in CASES:
        if title := case.after:
            await board.until(partial(board.ended, title))
        board.submitted(case, await asyncio.to_thread(submit, case, world.smtp_port, login))


async def _watch(store: Store, board: Board) -> None:
    while True:
        for message in board.open_ids():
            for recipient, seen in (await look(store, message)).items():
                board.see(message, recipient, seen)
        await asyncio.sleep(LOOK_EVERY)


def _say_where_to_look(world: World, login: SubmissionLogin, board: Board, console: Console) -> None:
    accepted = next(row.id for row in board.rows if row.id and len(row.case.expected) > 1)
    console.print(
        _HINTS.format(
            port=world.smtp_port,
            user=login.username,
            secret=login.secret,
            config=world.config,
            web=world.web_port,
            id=format_id(accepted),
            mta=_command(),
        ),
        soft_wrap=True,
    )


def _command() -> str:
    """How to call ``mta`` from the current directory."""
    beside = Path(sys.executable).with_name("mta")
    return os.path.relpath(beside) if beside.exists() else "mta"


@contextlib.contextmanager
def _ending_by_signal() -> Iterator[None]:
    """Ctrl-C, TERM and a closed terminal end the demo by cancelling it, so that everything is put away."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    for number in numbers:
        loop.add_signal_handler(number, task.cancel)
    try:
        yield
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)

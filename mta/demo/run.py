"""The demo, from start to end.

    environment ▶ database and account ▶ service ▶ submissions ▶ table and checks ▶ keep running, or exit

Invariants: Nothing is left behind. Everything shown comes from the service's own record (``mta explain``), from the
replies to the client, or from what the receiver got.
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

from mta.demo import checks, stories
from mta.demo.account import open_account
from mta.demo.board import Board, follow, look
from mta.demo.cases import CASES, CONFIRMED, SubmissionLogin, confirmed_newsletter, submit
from mta.demo.confirmation import confirm_mailing
from mta.demo.environment import DemoEnvironment, create, database, new_directory
from mta.demo.people import administrator, log_in_links
from mta.demo.service import service
from mta.mail.identity import format_id
from mta.store.store import Store

RETRY_ONCE = ("1s", "2s", "4s")
RETRY_STAYING = ("5s", "10s", "30s", "1m")
RESULTS_WITHIN = 90.0  # seconds
POLL_EVERY = 0.2

_PAGES = """
[bold]Look at it in a browser[/]: the links of the first two log in once.

  as the operator       {operator}
  as the shop's user    {shop}
  as a recipient        {form} (to sign up), {abuse} (to complain)
"""

_HINTS = """
[bold]Submit by hand[/] (the receiver serves inbox.example, club.example, tarpit.example and demo.example; local parts
that start with unknown, full, grey, slow, busy, blocked, spam or later get a matching reply):

  swaks --server 127.0.0.1:{port} --auth-user {user} --auth-password {secret} \\
        --from desk@demo.example --to ann@inbox.example --header 'Subject: by hand'

  python3 -c "import smtplib; s = smtplib.SMTP('127.0.0.1', {port}); s.login('{user}', '{secret}'); \\
    s.sendmail('desk@demo.example', 'full@club.example', 'From: desk@demo.example\\r\\n\\r\\nhello')"

[bold]Look around[/] (in another terminal):

  export MTA_CONFIG={config}
  {mta} top            {mta} queue            {mta} queue list
  {mta} explain {id}
  {mta} trace --contains inbox.example
  curl -s http://127.0.0.1:{web}/metrics | grep imprimatur_recipients

[dim]New events are shown below. Press Ctrl-C to stop the demo and delete all its files.[/]
"""


async def run(*, once: bool, console: Console) -> bool:
    """Run the demo; return whether all results are as expected. Raises DemoError, OSError, EmbeddedError."""
    async with AsyncExitStack() as stack:
        stack.enter_context(_cancelled_by_signals())
        console.print("Starting a receiver and a name server on this machine ...")
        directory = new_directory()
        running = await stack.enter_async_context(service(directory))
        environment = await create(directory, retry=RETRY_ONCE if once else RETRY_STAYING, known_ports=not once)
        stack.push_async_callback(environment.close)
        console.print("Starting a database ...")
        store = await stack.enter_async_context(database(environment))
        login = await open_account(store)
        await confirm_mailing(environment, CONFIRMED, confirmed_newsletter())
        stack.push_async_callback(running.stop)
        console.print("Starting the service ...")
        await running.start(environment.web_port, console.print)
        board = Board(CASES)
        await _submit_and_show(environment, store, login, board, console)
        differences = list(board.differences())
        for line in differences:
            console.print(f"[red]unexpected:[/] {line}")
        if not once:
            context = administrator(store, environment)
            form = await stories.prepare(store, context, environment)
            operator, shop = await log_in_links(context)
            public = f"http://127.0.0.1:{environment.public_port}"
            pages = _PAGES.format(operator=operator, shop=shop, form=f"{public}/s/{form}", abuse=f"{public}/abuse")
            console.print(pages, soft_wrap=True)
            _print_hints(environment, login, board, console)
            busy = asyncio.create_task(stories.traffic(environment.smtp_port, login))
            stack.callback(busy.cancel)
            await follow(environment.events, console)
        return not differences


async def _submit_and_show(
    environment: DemoEnvironment, store: Store, login: SubmissionLogin, board: Board, console: Console
) -> None:
    """Submit all cases and show the table until all results are as expected, or time is up."""
    with contextlib.ExitStack() as stack:
        if console.is_terminal:
            stack.enter_context(
                Live(get_renderable=lambda: board.table(console.width), console=console, refresh_per_second=4)
            )
        watcher = asyncio.create_task(_watch(store, board))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(RESULTS_WITHIN):
                for case in CASES:
                    if title := case.after:
                        await board.until(partial(board.ended, title))
                    board.submitted(case, await asyncio.to_thread(submit, case, environment.smtp_port, login))
                await board.until(lambda: board.complete)
                await checks.wait_for_dsn(environment)
        watcher.cancel()
        await asyncio.wait([watcher])
        board.checks = await checks.check(environment, store)
    if not console.is_terminal:
        console.print(board.table(console.width))


async def _watch(store: Store, board: Board) -> None:
    while True:
        for message in board.open_ids():
            for recipient, seen in (await look(store, message)).items():
                board.see(message, recipient, seen)
        await asyncio.sleep(POLL_EVERY)


def _print_hints(environment: DemoEnvironment, login: SubmissionLogin, board: Board, console: Console) -> None:
    example = next(row.id for row in board.rows if row.id and len(row.case.expected) > 1)
    installed = Path(sys.executable).with_name("mta")
    console.print(
        _HINTS.format(
            port=environment.smtp_port,
            user=login.username,
            secret=login.secret,
            config=environment.config,
            web=environment.web_port,
            id=format_id(example),
            mta=os.path.relpath(installed) if installed.exists() else "mta",
        ),
        soft_wrap=True,
    )


@contextlib.contextmanager
def _cancelled_by_signals() -> Iterator[None]:
    """Let INT, TERM and HUP cancel the demo, so that it cleans up."""
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

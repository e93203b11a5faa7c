"""CPU cost of accepting a message on our side, in microseconds, compared with plain aiosmtpd.

    python -m bench.micro_session [--messages 4000]

"session": receiving and checking on reused connections, with a next stage that accepts at once. "one each": a new
connection for each message. "TLS": one connection after STARTTLS. "aiosmtpd": its own class with a handler that accepts
at once, on reused connections. The server is a separate process, and only its time counts; nothing is pipelined.

Limitations: On loopback a part of the kernel's work for both ends runs in the sender's time. The best of several rounds
is shown, so other load on the machine matters little.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import smtplib
import ssl
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path

import uvloop
from aiosmtpd.smtp import SMTP

from bench.source import Load, Source
from config.schema import Certificate, Limits, Listener, ListenerTls
from mta.mail.address import Address
from mta.mail.message import Envelope, IPAddress, Recipient
from mta.mail.reply import Reply
from mta.observe.background import BackgroundTasks
from mta.observe.events import EventLog
from mta.observe.metrics import Metrics
from mta.observe.sink import NoSink
from mta.observe.trace import Trace
from mta.smtp_server.auth.authenticator import Authenticator
from mta.smtp_server.handler import Client
from mta.smtp_server.listener import Listeners, bind
from mta.smtp_server.tls import server_context
from policy.accounts.account import Account

SIZES = (10_000, 60_000)
ROUNDS = 5
SESSIONS = 20
KEPT = 10**9
ACCOUNT = Account(1, "bench", frozenset({"sender.example"}))
QUEUED = Reply(250, "2.0.0", "OK: queued as 01j0000000000000000000000")


class AnyNetwork:
    """Accounts that accept every network and no credential."""

    def by_credential(self, username: str) -> None:
        return None

    def by_network(self, address: IPAddress) -> Account:
        return ACCOUNT


class AcceptAll:
    """A handler that costs nothing."""

    async def on_sender(self, client: Client, envelope: Envelope, size: int | None) -> AcceptAll:
        return self

    async def on_recipient(self, recipient: Recipient, ahead: Sequence[Address] = ()) -> Reply | None:
        return None

    async def on_message(self, envelope: Envelope, content: bytes, large: object = None) -> Reply:
        return QUEUED

    async def handle_DATA(self, *_: object) -> str:
        return str(QUEUED)


def serve(control: Connection) -> None:
    """Send the ports; then answer each message on ``control`` with the CPU seconds used so far, until told to stop."""
    uvloop.run(_serve(control))


async def _serve(control: Connection) -> None:
    loop, metrics, limits = asyncio.get_running_loop(), Metrics(), Limits()
    listener = Listener(port=0, tls=ListenerTls.STARTTLS)
    bound = bind(listener)
    with tempfile.TemporaryDirectory() as directory:
        tls = server_context(Certificate(), hostname="mx.bench.example", data_dir=Path(directory))
    listeners = Listeners(
        limits,
        [(listener, bound)],
        hostname="mx.bench.example",
        tls=tls,
        handler=AcceptAll(),
        authenticator=Authenticator(AnyNetwork(), limits, salt_key=b"bench"),
        trace=Trace(Path("unused"), metrics),
        events=EventLog(NoSink()),
        metrics=metrics,
        tasks=BackgroundTasks(metrics),
    )
    await listeners.start()
    theirs = await loop.create_server(lambda: SMTP(AcceptAll(), hostname="mx.bench.example"), "127.0.0.1", 0)
    control.send((bound.getsockname()[1], theirs.sockets[0].getsockname()[1]))
    while await loop.run_in_executor(None, control.recv):
        control.send(time.process_time())
    theirs.close()
    await listeners.stop(0)


def send(port: int, size: int, messages: int, per_connection: int) -> None:
    load = Load(port=port, count=messages, size=size, sessions=SESSIONS, per_connection=per_connection)
    sent = Source(load).run()
    if len(sent.accepted) != messages:
        raise SystemExit(f"{messages - len(sent.accepted)} of {messages} messages were not accepted: {sent.replies}")


def send_encrypted(port: int, size: int, messages: int) -> None:
    """Send over one connection with STARTTLS; the handshake is not measured."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with smtplib.SMTP("127.0.0.1", port, local_hostname="client.bench.example") as client:
        client.starttls(context=context)
        content = b"Subject: hello\r\n\r\n" + (b"x" * 76 + b"\r\n") * (size // 78)
        for _ in range(messages):
            client.sendmail("ann@sender.example", ["bob@example.com"], content)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=4000, help="messages per round")
    messages = parser.parse_args().messages
    control, theirs = multiprocessing.Pipe()
    process = multiprocessing.Process(target=serve, args=(theirs,), daemon=True)
    process.start()
    ours, stock = control.recv()

    def cost(work: Callable[[], None], count: int) -> float:
        control.send(True)
        before = control.recv()
        work()
        control.send(True)
        return float(control.recv() - before) / count * 1e6

    few = messages // 4
    print(f"{'us per message':14}{'session':>10}{'one each':>10}{'TLS':>10}{'aiosmtpd':>10}")
    for size in SIZES:
        ways = [
            (partial(send, ours, size, messages, KEPT), messages),
            (partial(send, ours, size, few, 1), few),
            (partial(send_encrypted, ours, size, few), few),
            (partial(send, stock, size, few, KEPT), few),
        ]
        best = [min(cost(work, count) for _ in range(ROUNDS)) for work, count in ways]
        print(f"{size:<14}" + "".join(f"{figure:>10.0f}" for figure in best))
    control.send(False)
    process.join()


if __name__ == "__main__":
    main()

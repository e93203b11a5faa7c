"""CPU cost of delivering a message on our side, in microseconds, compared with plain aiosmtplib.

    python -m bench.micro_deliver [--messages 4000]

"courier": the whole delivery stage on reused connections. "one each": a new connection for each message. "aiosmtplib":
``SMTP.sendmail`` on reused connections, without pipelining. The sink is a separate process and is not counted.

Limitations: On loopback a part of the kernel's work for both ends runs in the sender's time. The best of several rounds
is shown, so other load on the machine matters little.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from itertools import repeat

import aiosmtplib
import uvloop

from bench import sink
from config.schema import EgressSettings, Shaping
from mta.delivery.courier import Courier
from mta.delivery.egress.paths import EgressPath
from mta.delivery.egress.sources import SYSTEM_SOURCE
from mta.delivery.route import Route, Target
from mta.mail.address import Address
from mta.mail.delivery import Delivery, QueuedRecipient
from mta.mail.identity import new_message_id

SIZES = (10_000, 60_000)
CONNECTIONS = 20
ROUNDS = 5
PORT = 2599
LINE = b"All work and no play makes Jack a dull boy. All work and no play makes Jack\r\n"

Send = Callable[[bytes], Awaitable[None]]


def message(size: int) -> bytes:
    return b"From: ann@sender.example\r\nSubject: hello\r\n\r\n" + LINE * (size // len(LINE))


def delivery(content: bytes) -> Delivery:
    now = datetime.now(UTC)
    recipient = QueuedRecipient(0, Address("bob", "example.com"))
    sender, expires_at = Address("ann", "sender.example"), now + timedelta(days=1)
    return Delivery(new_message_id(), "example.com", sender, (recipient,), 1, now, expires_at, len(content))


async def cost(send: Send, content: bytes, messages: int) -> float:
    """Return the CPU microseconds per message."""
    work = repeat(None, messages)

    async def sender() -> None:
        for _ in work:
            await send(content)

    await send(content)
    began = time.process_time()
    await asyncio.gather(*(sender() for _ in range(CONNECTIONS)))
    return (time.process_time() - began) / messages * 1e6


async def by_courier(content: bytes, messages: int, *, kept: bool) -> float:
    courier = Courier(EgressSettings(), "out.sender.example")
    target = Target("mx.example.com", "127.0.0.1", PORT)
    route = Route("bench", Shaping(messages_per_connection=10**9 if kept else 1), (target,))
    path = EgressPath(SYSTEM_SOURCE, route.site, route.shaping)

    async def send(content: bytes) -> None:
        attempt = await courier.deliver(delivery(content), route, path, content)
        if attempt.results[0].reply.code != 250:
            raise RuntimeError(str(attempt.results[0].reply))

    figure = await cost(send, content, messages)
    await courier.close()
    return figure


async def by_library(content: bytes, messages: int) -> float:
    idle: list[aiosmtplib.SMTP] = []

    async def send(content: bytes) -> None:
        if idle:
            smtp = idle.pop()
        else:
            smtp = aiosmtplib.SMTP(
                hostname="127.0.0.1", port=PORT, start_tls=False, local_hostname="out.sender.example"
            )
            await smtp.connect()
        await smtp.sendmail("ann@sender.example", ["bob@example.com"], content)
        idle.append(smtp)

    figure = await cost(send, content, messages)
    for smtp in idle:
        smtp.close()
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=4000, help="messages per round")
    messages = parser.parse_args().messages
    control, theirs = multiprocessing.Pipe()
    process = multiprocessing.Process(target=sink.serve, args=(["127.0.0.1"], PORT, theirs), daemon=True)
    process.start()
    control.recv()
    print(f"{'us per message':14}{'courier':>10}{'one each':>10}{'aiosmtplib':>12}")
    for size in SIZES:
        content = message(size)
        ways: list[Callable[[], Awaitable[float]]] = [
            lambda content=content: by_courier(content, messages, kept=True),
            lambda content=content: by_courier(content, messages // 4, kept=False),
            lambda content=content: by_library(content, messages),
        ]
        best = [min(uvloop.run(way()) for _ in range(ROUNDS)) for way in ways]  # type: ignore[arg-type]
        print(f"{size:<14}{best[0]:>10.0f}{best[1]:>10.0f}{best[2]:>12.0f}")
    control.send("stop")
    process.join()


if __name__ == "__main__":
    main()

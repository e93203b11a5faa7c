"""What can happen to a service under load, by name: the faults of the tests and of ``make reliability``.

Each takes a trial, under load, lets a moment pass, strikes, and leaves the service running.
"""

from __future__ import annotations

import asyncio
import os
import resource
import signal
from collections.abc import Awaitable, Callable

from mta.testing.nameserver import DnsFault
from mta.testing.script import AfterReply, ReceiverStage, Script, ScriptedReply, ScriptRule, say
from tests.faults.clients import DOMAINS
from tests.faults.figures import Figures
from tests.faults.trial import CONNECTIONS, LEASE, WORKERS, Trial

Fault = Callable[[Trial], Awaitable[None]]

SHORTAGE = 24  # descriptors that a worker may open above those it has
HOSTILE = (
    ScriptedReply(reply=b"", end=AfterReply.CLOSE),
    ScriptedReply(reply=b"", end=AfterReply.RESET),
    say("421 4.3.2 going down", end=AfterReply.CLOSE),
    say("999 what is this"),
    ScriptedReply(reply=b"\x00\xff garbage\r\n", end=AfterReply.CLOSE),
    say("451 4.3.0 later"),
)
STAGES = (ReceiverStage.CONNECT, ReceiverStage.HELLO, ReceiverStage.MAIL, ReceiverStage.RCPT, ReceiverStage.DATA)


async def kill_worker(this: Trial) -> None:
    """What it held goes to the others, or to its successor."""
    victim = this.random.choice(this.standing.service.workers())
    os.kill(victim, signal.SIGKILL)
    this.struck()


async def kill_database(this: Trial) -> None:
    """Clients get 451 until it is back, which needs nobody's help."""
    this.standing.service.kill_database()
    this.struck()


async def kill_everything(this: Trial) -> None:
    """The next start picks up where it ended."""
    await asyncio.to_thread(this.standing.service.kill_everything)
    this.struck()
    await asyncio.to_thread(this.standing.service.start)


async def stop_in_order(this: Trial) -> None:
    """What runs is finished, what waits is kept, and nothing is sent twice."""
    assert await asyncio.to_thread(this.standing.service.stop) == 0
    this.struck()
    await asyncio.to_thread(this.standing.service.start)


async def stall_worker(this: Trial) -> None:
    """Longer than its lease: others take over, and what it says when it wakes is not believed."""
    victim = this.random.choice(this.standing.service.workers())
    os.kill(victim, signal.SIGSTOP)
    this.struck()
    await asyncio.sleep(LEASE + this.random.uniform(2, 4))  # at twice the lease it would be replaced
    try:
        os.kill(victim, signal.SIGCONT)
    except ProcessLookupError:
        return  # it was replaced meanwhile


async def slow_database(this: Trial) -> None:
    """All of PostgreSQL stands still for longer than a call may take."""
    frozen = this.standing.service.freeze_database()
    this.struck()
    await asyncio.sleep(this.random.uniform(1, 4))
    for pid in frozen:
        os.kill(pid, signal.SIGCONT)


async def descriptors(this: Trial) -> None:
    """Both workers run out of descriptors, and get them back."""
    workers = this.standing.service.workers()
    before = {pid: resource.prlimit(pid, resource.RLIMIT_NOFILE) for pid in workers}
    for pid in workers:
        used = len(os.listdir(f"/proc/{pid}/fd"))
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (used + SHORTAGE // 8, before[pid][1]))
    this.struck()
    await asyncio.sleep(this.random.uniform(1, 3))
    for pid in workers:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, before[pid])


async def dns_failures(this: Trial) -> None:
    """Half of the domains cannot be resolved for a while."""
    whole = dict(this.zone)
    for n in this.random.sample(range(DOMAINS), DOMAINS // 2 + 1):
        this.zone[f"d{n}.example"] = this.random.choice([DnsFault.SERVFAIL, DnsFault.REFUSED, DnsFault.SILENT])
    this.struck()
    await asyncio.sleep(this.random.uniform(1, 3))
    this.zone.update(whole)


async def hostile_receivers(this: Trial) -> None:
    """Receivers that close, reset and talk nonsense before the end of a message."""
    stages = this.random.sample(STAGES, 2)
    rules = (ScriptRule(stage, "*", tuple(this.random.choices(HOSTILE, k=20))) for stage in stages)
    this.receiver.script = Script(rules=tuple(rules))
    this.struck()
    await asyncio.sleep(this.random.uniform(1, 3))
    this.receiver.script = this.friendly


FAULTS: dict[str, Fault] = {
    "kill_worker": kill_worker,
    "kill_database": kill_database,
    "kill_everything": kill_everything,
    "stop_in_order": stop_in_order,
    "stall_worker": stall_worker,
    "slow_database": slow_database,
    "descriptors": descriptors,
    "dns_failures": dns_failures,
    "hostile_receivers": hostile_receivers,
}
IN_FLIGHT = {"stall_worker": DOMAINS * CONNECTIONS // WORKERS}  # the worker that was stopped goes on with these


async def strike(this: Trial, fault: Fault) -> Figures:
    """Run a whole trial: load, suppressions, the fault, load, and the judgement."""
    async with this.clients.load():
        await this.moment()
        await this.suppress()
        await fault(this)
        await this.moment()
    this.ended()
    await this.settle()
    return await this.judge(IN_FLIGHT.get(this.fault, 0))


def verify(figures: Figures) -> None:
    """Raises AssertionError if anything happened that must not."""
    print(figures.line())
    assert figures.is_clean, figures.line()
    if figures.fault == "stop_in_order":
        assert figures.twice == 0, figures.line()

"""The fork server and what it forks. All processes here are real."""

from __future__ import annotations

import asyncio
import ctypes
import grp
import json
import os
import pwd
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest

from mta.service import fork_server as module
from mta.service.fork_server import ForkAnswer, ForkedProcess, ForkFailed, ForkRequest, ForkServer, _Server
from mta.store.queue import lease
from tests.unit.mta.store.make import until

FORKED = "tests.unit.mta.service.forked"
ROOT = Path(__file__).parents[4]


@dataclass
class Told:
    """A child of ours: what it was born with, and the socket to it."""

    process: ForkedProcess
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    birth: dict[str, Any]

    def tell(self, line: str) -> None:
        self.writer.write(f"{line}\n".encode())

    async def ended(self) -> int | None:
        async with asyncio.timeout(20):
            return await self.process.wait()


@pytest.fixture
async def server() -> AsyncIterator[ForkServer]:
    made = ForkServer([FORKED])
    yield made
    await made.close()


async def born(server: ForkServer, *sockets: socket.socket, name: str = "test", **more: Any) -> Told:
    ours, theirs = socket.socketpair()
    with theirs:
        async with asyncio.timeout(20):
            process = await server.start(name, FORKED, (theirs, *sockets), **more)
    reader, writer = await asyncio.open_connection(sock=ours)
    return Told(process, reader, writer, json.loads(await reader.readline()))


def is_alive(pid: int) -> bool:
    return lease._started(pid) is not None


async def test_a_child_has_what_it_was_given_and_nothing_else(server: ForkServer) -> None:
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as other:
        first = await born(server, one, other, name="worker-7")
        second = await born(server, other)
        assert first.birth["sockets"] == [list(one.getsockname()), list(other.getsockname())]
        assert second.birth["sockets"] == [list(other.getsockname())]
    for child in (first, second):
        assert child.birth["other files"] == []
        assert child.birth["standard input"] == "/dev/null"
        assert child.birth["left to the supervisor"]
        assert child.birth["ends of children"]
    assert (first.birth["name"], second.birth["name"]) == ("mta worker-7", "mta test")
    assert first.birth["random"] != second.birth["random"]


async def test_what_waits_on_a_socket_is_for_the_successor(server: ForkServer) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        first = await born(server, listening)
        first.process.kill()
        assert await first.ended() == -signal.SIGKILL
        reader, writer = await asyncio.open_connection(*listening.getsockname())
        second = await born(server, listening)
        second.tell("accept")
        assert int(await reader.read()) == second.process.pid
        writer.close()
        assert await second.ended() == 0


@pytest.mark.parametrize(("order", "status"), [("exit 7", 7), ("exit 0", 0), ("say goodbye", 1), ("raise", 1)])
async def test_how_it_ended_is_known(server: ForkServer, order: str, status: int) -> None:
    child = await born(server)
    child.tell(order)
    assert await child.reader.read() == b""
    assert await child.ended() == status
    assert not is_alive(child.process.pid)


async def test_the_next_child_starts_another_server(server: ForkServer) -> None:
    """And those of the old one live on, and can be ended."""
    old = await born(server)
    assert server.pid
    first = server.pid
    os.kill(first, signal.SIGKILL)
    await until(lambda: server.pid is None)
    assert await old.ended() is None
    assert is_alive(old.process.pid)
    new = await born(server)
    assert server.pid not in (None, first)
    old.process.kill()
    assert await old.reader.read() == b""
    new.tell("exit 3")
    assert await new.ended() == 3
    await until(lambda: not is_alive(first))


async def test_a_start_fails_with_its_server(server: ForkServer) -> None:
    await born(server)
    assert server.pid
    os.kill(server.pid, signal.SIGSTOP)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        starting = asyncio.create_task(server.start("test", FORKED, (theirs,)))
        await asyncio.sleep(0)
        os.kill(server.pid, signal.SIGKILL)
        with pytest.raises(ConnectionResetError, match="fork server died"):
            await starting


async def test_signals_to_all_hurt_nobody(server: ForkServer) -> None:
    child = await born(server)
    assert server.pid
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1):
        for pid in (server.pid, child.process.pid):
            os.kill(pid, number)
    again = await born(server)
    for each in (child, again):
        each.tell("exit 0")
        assert await each.ended() == 0


async def test_a_server_that_hangs_is_ended(server: ForkServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CLOSE_TIMEOUT", 0.05)
    await born(server)
    pid = server.pid
    assert pid
    os.kill(pid, signal.SIGSTOP)
    async with asyncio.timeout(20):
        await server.close()
    assert not is_alive(pid)


async def test_memory_is_kept_for_the_next_message(server: ForkServer) -> None:
    if not hasattr(ctypes.CDLL(None), "mallopt"):
        pytest.skip("not glibc")
    child = await born(server)
    child.tell("allocate")
    assert int(await child.reader.read()) < 20_000


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become another user")
async def test_a_child_is_another_user_in_whole(server: ForkServer) -> None:
    account = pwd.getpwnam("nobody")
    child = await born(server, user="nobody")
    assert child.birth["ids"] == [account.pw_uid] * 3 + [account.pw_gid] * 3
    assert child.birth["groups"] == sorted(os.getgrouplist("nobody", account.pw_gid))
    assert grp.getgrnam("root").gr_gid not in child.birth["groups"]
    # If /proc called it root's, workers could not see each other there where it is mounted with hidepid.
    assert os.stat(f"/proc/{child.process.pid}").st_uid == account.pw_uid
    own = await born(server)
    assert own.birth["ids"][0] == 0


def test_no_child_when_there_are_no_processes_to_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> int:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    ours, theirs = module._pair()
    with ours, theirs:
        left, right = socket.socketpair()
        with left:
            socket.send_fds(ours, [msgspec.json.encode(ForkRequest(5, "test", FORKED, None))], [right.fileno()])
            right.close()
            monkeypatch.setattr(os, "fork", fail)
            assert _Server(theirs)._fork()
            answer = msgspec.json.decode(ours.recv(4096), type=ForkAnswer)
            assert answer == ForkFailed(5, "Resource temporarily unavailable")
            assert left.recv(1) == b""  # nobody holds the other end


def test_a_process_with_threads_is_not_forked() -> None:
    done = threading.Event()
    thread = threading.Thread(target=done.wait)
    thread.start()
    try:
        with pytest.raises(RuntimeError, match="threads"):
            ForkServer([FORKED]).fork()
    finally:
        done.set()
        thread.join()


def run(script: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", script]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)


def test_imports_leave_nothing_that_must_not_be_shared() -> None:
    """Threads, files, event loops and signal handlers would be those of all children."""
    process = run(
        "import asyncio, os, signal, threading\n"
        "def state(): return (threading.active_count(), os.listdir('/proc/self/fd'), os.listdir('/proc/self/task'),"
        " [signal.getsignal(number) for number in signal.valid_signals()], signal.set_wakeup_fd(-1))\n"
        "before = state()\n"
        "from mta.service.fork_server import MODULES\n"
        "from mta.service.preload import preload\n"
        "preload(MODULES)\n"
        "assert state() == before, (state(), before)\n"
        "assert asyncio.get_event_loop_policy()._local._loop is None\n"
        "print('clean')\n"
    )
    assert process.communicate(timeout=60)[0] == "clean\n"


# A supervisor whose fork server was forked from it, with one child; it tells of both, and ends in order when told to.
SUPERVISOR = f"""
import asyncio, os, socket, sys
from mta.service.fork_server import ForkServer
file = open(os.devnull)
os.set_inheritable(file.fileno(), True)
server = ForkServer(["{FORKED}"])
server.fork()
async def main():
    ours, theirs = socket.socketpair()
    process = await server.start("test", "{FORKED}", (theirs,))
    theirs.close()
    print(server.pid, process.pid, flush=True)
    print(ours.makefile().readline(), end="", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    await server.close()
    print("fork server", "closed" if server.pid is None else "open", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
asyncio.run(main())
"""


@dataclass
class ForkedSupervisor:
    supervisor: subprocess.Popen[str]
    server: int
    child: int
    birth: dict[str, Any]


@pytest.fixture
def forked() -> Iterator[ForkedSupervisor]:
    with run(SUPERVISOR) as supervisor:
        assert supervisor.stdout
        server, child = map(int, supervisor.stdout.readline().split())
        yield ForkedSupervisor(supervisor, server, child, json.loads(supervisor.stdout.readline()))
        supervisor.kill()


def test_a_server_that_was_forked_leaves_no_files_to_its_children(forked: ForkedSupervisor) -> None:
    assert forked.birth["other files"] == []
    assert Path(f"/proc/{forked.server}/comm").read_text() == "mta fork server\n"


async def test_all_end_with_the_supervisor(forked: ForkedSupervisor) -> None:
    assert is_alive(forked.server)
    assert is_alive(forked.child)
    forked.supervisor.kill()
    await until(lambda: not is_alive(forked.server))
    await until(lambda: not is_alive(forked.child))


def test_a_server_that_was_forked_is_closed_in_order(forked: ForkedSupervisor) -> None:
    assert forked.supervisor.stdin
    assert forked.supervisor.stdout
    forked.supervisor.stdin.write("\n")
    forked.supervisor.stdin.flush()
    assert forked.supervisor.stdout.readline() == "fork server closed\n"
    assert not Path(f"/proc/{forked.server}").exists()  # not even as a zombie
    assert is_alive(forked.child)


def test_code_that_only_imports_ran_through_takes_no_memory() -> None:
    """What is needed again comes back by itself."""
    process = run(
        "import re\n"
        "from pathlib import Path\n"
        "from mta.service import preload\n"
        "def file_pages():\n"
        "    return int(re.search(r'RssFile:\\s+(\\d+)', Path('/proc/self/status').read_text())[1])\n"
        "preload._give_back_code, give_back = lambda: None, preload._give_back_code\n"
        "preload.preload(['mta.service.worker'])\n"
        "before = file_pages()\n"
        "give_back()\n"
        "assert file_pages() < before - 5000, (file_pages(), before)\n"
        "from mta.store.postgres.secrets import OCTETS, Secrets\n"
        "assert Secrets(bytes(OCTETS)).unseal(Secrets(bytes(OCTETS)).seal(b'x')) == b'x'\n"
        "print('works')\n"
    )
    assert process.communicate(timeout=60)[0] == "works\n"

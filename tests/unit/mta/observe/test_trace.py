"""The live dialogue: who sees what, and what nobody sees."""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from mta.observe import trace as trace_module
from mta.observe.metrics import Metrics
from mta.observe.trace import MASK, Trace, TraceFilter, TraceLine, mask, short_address, watch


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110  the loop itself makes it true
        await asyncio.sleep(0)


@asynccontextmanager
async def reader(path: Path, trace: Trace, wanted: TraceFilter) -> AsyncIterator[asyncio.StreamReader]:
    """A connected reader whose filter the trace has taken note of."""
    before = len(trace.readers)
    with short_address(path) as address:
        stream, writer = await asyncio.open_unix_connection(address)
    writer.write(msgspec.json.encode(wanted) + b"\n")
    await until(lambda: len(trace.readers) > before)
    yield stream
    writer.close()


async def next_line(stream: asyncio.StreamReader) -> TraceLine:
    return msgspec.json.decode(await asyncio.wait_for(stream.readline(), 5), type=TraceLine)


@pytest.fixture
async def trace(tmp_path: Path) -> AsyncIterator[Trace]:
    trace = Trace(tmp_path / "trace-0.sock", Metrics())
    await trace.start()
    yield trace
    await trace.stop()


async def test_a_reader_sees_lines_and_nobody_else_does(trace: Trace, tmp_path: Path) -> None:
    assert not trace.active
    async with reader(tmp_path / "trace-0.sock", trace, TraceFilter()) as stream:
        assert trace.active
        trace.line("in", "s1", "192.0.2.1", False, "MAIL FROM:<ann@example.com>")
        line = await next_line(stream)
        assert (line.side, line.session, line.peer, line.sent) == ("in", "s1", "192.0.2.1", False)
        assert line.text == "MAIL FROM:<ann@example.com>"
    await until(lambda: not trace.active)


async def test_a_reply_of_several_lines_is_several_lines(trace: Trace, tmp_path: Path) -> None:
    async with reader(tmp_path / "trace-0.sock", trace, TraceFilter()) as stream:
        trace.line("in", "s1", "192.0.2.1", True, "250-mta.example\r\n250 SIZE")
        assert [(await next_line(stream)).text for _ in range(2)] == ["250-mta.example", "250 SIZE"]


async def test_the_socket_is_for_its_owner_only(trace: Trace, tmp_path: Path) -> None:
    assert stat.S_IMODE(os.stat(tmp_path / "trace-0.sock").st_mode) == 0o600


async def test_filters(trace: Trace, tmp_path: Path) -> None:
    path = tmp_path / "trace-0.sock"
    async with (
        reader(path, trace, TraceFilter(side="out")) as by_side,
        reader(path, trace, TraceFilter(peer="MX.B")) as by_peer,
        reader(path, trace, TraceFilter(session="s2")) as by_session,
        reader(path, trace, TraceFilter(contains="BOB@")) as by_text,
    ):
        trace.line("in", "s1", "192.0.2.1", False, "RCPT TO:<ann@a.example>")
        trace.line("out", "s2", "mx.b.example [192.0.2.2]", True, "RCPT TO:<bob@b.example>")
        trace.line("out", "s2", "mx.b.example [192.0.2.2]", False, "250 ok")
        for stream in (by_side, by_peer, by_session, by_text):
            assert (await next_line(stream)).text == "RCPT TO:<bob@b.example>"
            assert (await next_line(stream)).text == "250 ok", "a session found once is shown from there on"


async def test_a_slow_reader_loses_lines_and_is_told(tmp_path: Path) -> None:
    metrics = Metrics()
    trace = Trace(tmp_path / "t.sock", metrics)
    await trace.start()
    async with reader(tmp_path / "t.sock", trace, TraceFilter()) as stream:
        for _ in range(3000):  # far more than the socket and the buffer take; nothing is read meanwhile
            trace.line("in", "s1", "192.0.2.1", True, "x " * 900)
        lost = int(metrics.trace_dropped.value)
        assert lost > 0
        for _ in range(3000 - lost):
            assert (await next_line(stream)).dropped == 0
        trace.line("in", "s1", "192.0.2.1", True, "250 at last")
        assert (await next_line(stream)).dropped == lost
    await trace.stop()


async def test_nonsense_on_the_socket_is_cut_off(trace: Trace, tmp_path: Path) -> None:
    with short_address(tmp_path / "trace-0.sock") as address:
        stream, writer = await asyncio.open_unix_connection(address)
    writer.write(b'{"sied": "in"}\n')
    assert await asyncio.wait_for(stream.read(), 5) == b""
    assert not trace.active
    writer.close()


async def test_a_directory_deeper_than_a_socket_address(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 80) / ("e" * 80)
    deep.mkdir(parents=True)
    trace = Trace(deep / "trace-0.sock", Metrics())
    await trace.start()
    async with reader(deep / "trace-0.sock", trace, TraceFilter()) as stream:
        trace.line("in", "s1", "192.0.2.1", True, "220 hello")
        assert (await next_line(stream)).text == "220 hello"
    await trace.stop()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("AUTH PLAIN AGFubgBzZWNyZXQ=", f"AUTH PLAIN {MASK}"),
        ("auth plain AGFubgBzZWNyZXQ=", f"auth plain {MASK}"),
        ("AUTH LOGIN", "AUTH LOGIN"),
        ("YW5u", MASK),
        ("c2VjcmV0", MASK),
        ("", MASK),
        ("=", MASK),
        ("QUIT", "QUIT"),
        ("data", "data"),
        ("EHLO client.example", "EHLO client.example"),
        ("(message, 1000 octets)", "(message, 1000 octets)"),
    ],
)
def test_a_clients_secrets_are_masked(text: str, shown: str) -> None:
    assert mask(text, from_client=True) == shown


def test_challenges_are_masked_and_other_replies_are_not() -> None:
    assert mask("334 cj1meUtv", from_client=False) == f"334 {MASK}"
    assert mask("250-SIZE", from_client=False) == "250-SIZE"


def test_both_directions_of_both_sides_know_who_the_client_is() -> None:
    assert mask("c2VjcmV0", from_client=True) == MASK


def test_control_characters_cannot_reach_a_terminal() -> None:
    assert mask("250 \x1b[2J\x9b\u2028\x00", from_client=False) == "250 \\x1b[2J\\x9b\\u2028\\x00"


async def test_lines_of_all_workers_also_of_later_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trace_module, "FIND_EVERY", 0.01)
    first, second = (Trace(tmp_path / f"trace-{n}.sock", Metrics()) for n in range(2))
    await first.start()
    lines = watch(tmp_path, TraceFilter(side="in"))
    next_line = asyncio.ensure_future(anext(lines))
    await _seen(first)
    first.line("out", "s0", "mx", True, "QUIT")
    first.line("in", "s1", "192.0.2.1", False, "RSET")
    assert (await asyncio.wait_for(next_line, 5)).session == "s1"
    await first.stop()
    await second.start()
    next_line = asyncio.ensure_future(anext(lines))
    await _seen(second)
    second.line("in", "s2", "192.0.2.1", False, "RSET")
    assert (await asyncio.wait_for(next_line, 5)).session == "s2"
    await lines.aclose()
    await second.stop()


async def test_a_socket_nobody_listens_on_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trace_module, "FIND_EVERY", 0.01)
    left_behind = Trace(tmp_path / "trace-0.sock", Metrics())
    await left_behind.start()
    (tmp_path / "trace-0.sock").rename(tmp_path / "kept")
    await left_behind.stop()
    (tmp_path / "kept").rename(tmp_path / "trace-0.sock")
    lines = watch(tmp_path, TraceFilter())
    next_line = asyncio.ensure_future(anext(lines))
    again = Trace(tmp_path / "trace-0.sock", Metrics())
    await again.start()
    await _seen(again)
    again.line("in", "s1", "192.0.2.1", True, "220 here")
    assert (await asyncio.wait_for(next_line, 5)).text == "220 here"
    await lines.aclose()
    await again.stop()


async def _seen(trace: Trace) -> None:
    while not trace.active:  # noqa: ASYNC110  the loop itself makes it true
        await asyncio.sleep(0)

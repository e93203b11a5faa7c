"""Finding the end of a message, in any split, against a plain reading of RFC 5321 4.5.2; and its bounds."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.schema import Limits
from mta.smtp_server import body
from mta.smtp_server.body import COPIES, SMALL, ChunkReader, Collected, DataReader, end_last_line
from mta.smtp_server.limits import MemoryBudget
from mta.smtp_server.message_syntax import message_fault
from mta.smtp_server.replies import ENDLESS_LINE, NO_MEMORY, too_large

# octets that matter, in the mixtures that matter
streams = st.lists(st.sampled_from([b"\r\n", b".", b"\r", b"\n", b"x", b"\r\n.\r\n", b"\0"]), max_size=30).map(b"".join)


def collected(limit: int, room: MemoryBudget | None = None) -> Collected:
    return Collected(Limits().model_copy(update={"message_size": limit}), room or MemoryBudget(1 << 40))


def plainly(stream: bytes) -> tuple[bytes, bytes] | None:
    """(message, what follows it), as the RFC says it; None while there is no end."""
    end = re.search(rb"(?:\A|(?<=\r\n))\.\r\n", stream)
    if not end:
        return None
    return re.sub(rb"(?:\A|(?<=\r\n))\.", b"", stream[: end.start()]), stream[end.end() :]


@given(streams, st.lists(st.integers(1, 7), min_size=1))
def test_the_end_is_found_in_any_split(stream: bytes, sizes: list[int]) -> None:
    dots, buffer, fed, n = DataReader(collected(10_000)), bytearray(), 0, 0
    while fed < len(stream):
        buffer += stream[fed : fed + sizes[n % len(sizes)]]
        fed += sizes[n % len(sizes)]
        n += 1
        if dots.take(buffer):
            assert (dots.whole(), bytes(buffer) + stream[fed:]) == plainly(stream)
            return
    assert plainly(stream) is None


def test_long_messages_are_moved_out_of_the_buffer_as_they_come(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(body, "SPILL", 8)  # though lines are as long here
    content = b"".join(b"%d%s\r\n" % (n % 10, b"." * (n % 3)) for n in range(200))
    stuffed = re.sub(rb"(?m)^\.", b"..", content)
    stream, dots, buffer = stuffed + b".\r\nQUIT\r\n", DataReader(collected(10_000)), bytearray()
    for n, octet in enumerate(stream):
        buffer.append(octet)
        if dots.take(buffer):
            assert stream[n + 1 :] == b"QUIT\r\n"
            break
        assert len(buffer) <= 9
    assert dots.whole() == content


def test_over_the_limit_nothing_is_kept() -> None:
    room = MemoryBudget(1000)
    content, buffer = collected(10, room), bytearray(b"x" * 8)
    content.take(buffer, 8)
    assert content.refusal is None
    assert room.used == 8 * COPIES
    buffer += b"y" * 8
    content.take(buffer, 5)
    assert bytes(buffer) == b"yyy"
    assert content.refusal == too_large(10)
    assert content.octets == 13
    assert room.used == 0
    assert content.whole() == b""


def test_messages_share_the_room() -> None:
    room = MemoryBudget(10 * COPIES)
    first, second = collected(100, room), collected(100, room)
    first.take(bytearray(b"x" * 6), 6)
    second.take(bytearray(b"y" * 6), 6)
    assert (first.refusal, second.refusal) == (None, NO_MEMORY)
    first.drop()
    first.drop()
    assert room.used == 0


def test_the_last_of_the_room_is_for_small_messages() -> None:
    room = MemoryBudget(4 * COPIES * SMALL)
    large, small = collected(8 * SMALL, room), collected(8 * SMALL, room)
    large.take(bytearray(b"x\n" * SMALL * 2)[: 3 * SMALL], 3 * SMALL)
    small.take(bytearray(SMALL), SMALL)
    assert (large.refusal, small.refusal) == (None, None)
    large.take(bytearray(b"x"), 1)
    assert large.refusal is NO_MEMORY


def test_an_endless_line_is_dropped_long_before_the_limit() -> None:
    room = MemoryBudget(1 << 40)
    content = collected(1 << 40, room)
    dots, buffer = DataReader(content), bytearray()
    for _ in range(20):
        buffer += b"x" * 65536
        assert not dots.take(buffer)
        assert len(buffer) <= body.SPILL
        assert room.used == 0
    assert content.refusal is ENDLESS_LINE


@given(st.binary(max_size=50), st.integers(0, 60), st.integers(1, 9))
def test_a_chunk_takes_what_is_its_own(stream: bytes, size: int, step: int) -> None:
    content, buffer = collected(1000), bytearray()
    chunk = ChunkReader(size, content)
    done = chunk.take(buffer)
    assert done == (size == 0)
    for at in range(0, len(stream), step):
        if done:
            break
        buffer += stream[at : at + step]
        done = chunk.take(buffer)
    assert done == (size <= len(stream))
    assert content.whole() == stream[:size]


LIMITS = Limits()


@given(st.lists(st.sampled_from([b"\r\n", b"\r", b"\n", b"x" * 499, b"y", b"\0"]), max_size=12).map(b"".join))
def test_what_is_let_through_has_only_lines_of_the_right_kind(octets: bytes) -> None:
    content = end_last_line(octets)
    lines = content.split(b"\r\n")
    bare = any(octet in line for line in lines for octet in (b"\r", b"\n", b"\0"))
    long = any(len(line) > 998 for line in lines)
    refusal = message_fault(content, LIMITS)
    assert (refusal is not None and "bare <CR>" in refusal.text) == bare
    assert (refusal is not None) == (bare or long)

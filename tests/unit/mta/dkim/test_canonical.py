"""A body that comes in pieces has the hash that it has as a whole."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mta.dkim.canonical import BodyHash, body_hash

LINES = st.lists(st.sampled_from([b"\r\n", b" \r\n", b"a  b\r\n", b"\t\t\r\n", b"text \t\r\n", b"x\r\n"]), max_size=30)


@given(LINES, st.integers(1, 7))
def test_in_pieces_as_whole(lines: list[bytes], step: int) -> None:
    pieces = BodyHash()
    for start in range(0, len(lines), step):
        pieces.feed(b"".join(lines[start : start + step]))
    assert pieces.tag() == body_hash(b"".join(lines))


def test_a_sea_of_empty_lines_counts_if_something_follows() -> None:
    pieces, sea = BodyHash(), b"\r\n" * 100_000
    for piece in (b"a\r\n", sea, sea, b"b\r\n", sea):
        pieces.feed(piece)
    assert pieces.tag() == body_hash(b"a\r\n" + 2 * sea + b"b\r\n")

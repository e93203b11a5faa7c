"""The reader of replies: what is SMTP is read the same however it is cut, and nothing else ever breaks it."""

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mta.delivery.client import MAX_REPLY, NotSmtp, ReceiverReply, ReplyReader
from mta.mail.reply import Reply, ReplyKind

TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\r\n"), max_size=40)
REPLIES = st.lists(st.tuples(st.integers(0, 999), st.lists(TEXT, min_size=1, max_size=4)), max_size=5)


def encode(code: int, lines: list[str], end: str = "\r\n") -> bytes:
    marks = ["-"] * (len(lines) - 1) + [" "]
    return "".join(f"{code:03}{mark}{line}{end}" for mark, line in zip(marks, lines, strict=True)).encode()


def read(reader: ReplyReader, pieces: list[bytes]) -> tuple[list[ReceiverReply], str | None]:
    answers: list[ReceiverReply] = []
    for piece in pieces:
        for answer in reader.feed(piece):
            if isinstance(answer, NotSmtp):
                return answers, answer.text
            answers.append(answer)
    return answers, None


@given(REPLIES, st.data(), st.sampled_from(["\r\n", "\n"]))
def test_read_the_same_however_it_is_cut(replies: list[tuple[int, list[str]]], data: st.DataObject, end: str) -> None:
    octets = b"".join(encode(code, lines, end) for code, lines in replies)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(octets)), max_size=10)))
    pieces = [octets[a:b] for a, b in zip([0, *cuts], [*cuts, len(octets)], strict=True)]
    reader = ReplyReader()
    answers, invalid = read(reader, pieces)
    assert invalid is None
    assert reader.is_empty
    whole = [ReceiverReply(code, "\n".join(line.strip(" \t\n\r\v\f") for line in lines)) for code, lines in replies]
    assert answers == whole


@given(st.lists(st.binary(max_size=200), max_size=20))
def test_any_octets_are_replies_or_invalid(pieces: list[bytes]) -> None:
    answers, invalid = read(ReplyReader(), pieces)
    for answer in answers:
        reply = Reply.parse(answer.code, answer.text)
        assert (reply.kind is ReplyKind.POSITIVE) is answer.is_positive
        str(reply).encode()  # no lone surrogates
        assert "\x00" not in reply.text
    assert invalid is None or invalid


@given(st.lists(st.sampled_from([b"250 ok\r\n", b"250-", b"\r\n", b"550", b" ", b"\x00", b"\xff", b"421 bye\n"])))
def test_octet_by_octet_is_the_same_as_at_once(parts: list[bytes]) -> None:
    octets = b"".join(parts)
    at_once, one_by_one = ReplyReader(), ReplyReader()
    assert read(at_once, [octets]) == read(one_by_one, [bytes([octet]) for octet in octets])


@pytest.mark.parametrize(
    ("octets", "answers"),
    [
        (b"250\r\n", [ReceiverReply(250, "")]),
        (b"250 \r\n", [ReceiverReply(250, "")]),
        (b"250-\r\n250\r\n", [ReceiverReply(250, "\n")]),
        (b"250-a\r\n250-b\r\n250 c\r\n", [ReceiverReply(250, "a\nb\nc")]),
        (b"999 x\r\n000 y\r\n", [ReceiverReply(999, "x"), ReceiverReply(0, "y")]),
        (b"250 a\rb\r\n", [ReceiverReply(250, "a\rb")]),
        (b"250 \xff\xfe\r\n", [ReceiverReply(250, "\ufffd\ufffd")]),
    ],
)
def test_replies(octets: bytes, answers: list[ReceiverReply]) -> None:
    assert read(ReplyReader(), [octets]) == (answers, None)


@pytest.mark.parametrize(
    "octets",
    [
        b"\r\n", b"25\r\n", b"2500\r\n", b"250ok\r\n", b" 250 ok\r\n", b"+25 ok\r\n", b"-12 ok\r\n", b"2 5 ok\r\n",
        b"hello\r\n", b"250-a\r\n251 b\r\n", b"250-a\r\nb\r\n", "２５０ ok\r\n".encode(), b"\x00250 ok\r\n",
    ],
)  # fmt: skip
def test_invalid(octets: bytes) -> None:
    answers, invalid = read(ReplyReader(), [b"220 hi\r\n" + octets])
    assert answers == [ReceiverReply(220, "hi")]
    assert invalid
    assert invalid.isprintable()


@pytest.mark.parametrize(
    "octets",
    [
        b"\r\n220 hi\r\n", b"\n \t\r\n220 hi\n", b" 220 hi\r\n", b"220-\r\n\r\n220 hi\r\n", b"  welcome\r\n220 hi\r\n",
        b"220-hi\r\n   of text 220 hi\r\n\t220 hi\r\n", b"\r\n 220\r\n",
    ],
)  # fmt: skip
def test_empty_and_indented_lines_are_skipped_only_if_so_told(octets: bytes) -> None:
    reader = ReplyReader(lenient=True)
    answers, invalid = read(reader, [bytes([octet]) for octet in octets])
    assert (len(answers), answers[0].code, invalid) == (1, 220, None)
    assert reader.odd
    assert reader.is_empty
    assert read(ReplyReader(lenient=True), [octets]) == (answers, None)
    assert read(ReplyReader(), [octets])[1]


@pytest.mark.parametrize(
    "octets", [b"hello\r\n", b"\r\nhello\r\n", b"220-a\r\n 221 b\r\n", b" " * 9 + b"220-a\r\nb\r\n"]
)
def test_what_is_no_reply_stays_invalid(octets: bytes) -> None:
    assert read(ReplyReader(lenient=True), [octets])[1]


@pytest.mark.parametrize("piece", [b"\r\n" * 2048, b" " * 4096, b" x\n" * 1000, b" " * 4095 + b"\n"])
def test_nor_is_there_an_end_of_what_is_skipped(piece: bytes) -> None:
    answers, invalid = read(ReplyReader(lenient=True), [piece] * (2 * MAX_REPLY // len(piece)))
    assert (answers, invalid) == ([], f"more than {MAX_REPLY} octets")


@pytest.mark.parametrize("piece", [b"x" * 4096, b"250-" + b"x" * 76 + b"\r\n", b"250-\r\n"])
def test_what_does_not_end_is_cut_off(piece: bytes) -> None:
    reader = ReplyReader()
    pieces = [b"250-", *[piece] * (10 * MAX_REPLY // len(piece))]
    tracemalloc.start()
    answers, invalid = read(reader, pieces)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert answers == []
    assert invalid == f"more than {MAX_REPLY} octets"
    assert peak < 20 * MAX_REPLY


def test_the_largest_reply_is_read() -> None:
    octets = b"250 " + b"x" * (MAX_REPLY - 6) + b"\r\n"
    assert len(octets) == MAX_REPLY
    assert read(ReplyReader(), [octets])[0][0].code == 250
    assert read(ReplyReader(), [octets[:-2] + b"x\r\n"])[1]


def test_a_long_line_octet_by_octet_is_not_read_again_each_time() -> None:
    reader = ReplyReader()
    for _ in range(MAX_REPLY):
        assert reader.feed(b"2") == []
    assert not reader.is_empty

"""Extensions and commands."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mta.delivery import transaction
from mta.delivery.delivery_session import Extensions
from mta.delivery.transaction import dot_stuffed, dot_stuffed_pieces
from mta.mail.message import Notify
from mta.mail.reply import Reply
from tests.flow.far_end import deliver_to


def test_what_is_offered() -> None:
    text = "mx.example.com at your service\nSIZE 157286400\n8bitmime\nSTARTTLS\nPIPELINING\nCHUNKING\nSMTPUTF8\nDSN\n"
    offered = Extensions.parse(
        text + "AUTH PLAIN login\nAUTH=CRAM-MD5\nLIMITS RCPTMAX=20 mailmax=5 RCPTDOMAINMAX=1\nX-ODD"
    )
    assert offered == Extensions(
        pipelining=True, eight_bit=True, smtputf8=True, starttls=True, dsn=True, sizes=True, size=157286400,
        auth=frozenset({"plain", "login", "cram-md5"}), recipients=20, transactions=5,
    )  # fmt: skip


@pytest.mark.parametrize("text", ["", "mx", "mx\n\n", "mx\nPIPELINING2\nNOSIZE 5"])
def test_nothing_is_offered(text: str) -> None:
    assert Extensions.parse(text) == Extensions()


@pytest.mark.parametrize("limits", ["RCPTMAX=0", "RCPTMAX=", "RCPTMAX=-1", "RCPTMAX=x", "RCPTMAX=99999999", "="])
def test_limits_that_are_none(limits: str) -> None:
    assert Extensions.parse(f"mx\nLIMITS {limits}") == Extensions()


@pytest.mark.parametrize(
    ("notify", "word"),
    [
        (Notify.NEVER, " NOTIFY=NEVER"),
        (Notify.FAILURE, " NOTIFY=FAILURE"),
        (Notify.SUCCESS | Notify.FAILURE | Notify.DELAY, " NOTIFY=SUCCESS,FAILURE,DELAY"),
        (None, ""),
    ],
)
def test_notify(notify: Notify | None, word: str) -> None:
    [recipient] = deliver_to("bob@example.com", **{"0": {"notify": notify}}).recipients
    assert transaction.rcpt_command(recipient, Extensions(dsn=True)) == f"RCPT TO:<bob@example.com>{word}\r\n".encode()
    assert transaction.rcpt_command(recipient, Extensions()) == b"RCPT TO:<bob@example.com>\r\n"


@pytest.mark.parametrize(
    ("reply", "wanted"),
    [
        ("452 4.5.3 too many recipients", True),
        ("452 Too many recipients received this hour", True),
        ("552 5.5.3 enough", True),
        ("451 4.5.3 later", True),
        ("452 4.2.2 mailbox full", False),
        ("452 4.3.1 insufficient system storage", False),
        ("550 5.5.3 too many recipients", False),
        ("421 4.5.3 too many recipients", False),
        ("552 5.2.2 mailbox full", False),
    ],
)
def test_too_many(reply: str, wanted: bool) -> None:
    assert transaction.is_too_many(Reply.read(reply)) is wanted


@given(st.lists(st.sampled_from([b".", b"..", b"\r\n", b"a", b"\r", b"\n", b"\r\n.\r\n"]), max_size=30))
def test_dots_are_doubled_and_come_back(parts: list[bytes]) -> None:
    content = b"".join(parts)
    wire = dot_stuffed(content)
    assert wire.endswith(b".\r\n")
    body = wire[:-3]
    lines = body.split(b"\r\n")
    assert b"." not in lines, "a line with a lone dot would end the message"
    assert b"\r\n".join(line.removeprefix(b".") for line in lines).removesuffix(b"\r\n") == content.removesuffix(
        b"\r\n"
    )


def test_an_empty_message() -> None:
    assert dot_stuffed(b"") == b".\r\n"


async def cut(content: bytes, sizes: list[int]) -> AsyncIterator[bytes]:
    at = 0
    while at < len(content):
        size = sizes[at % len(sizes)]
        yield content[at : at + size]
        at += size


@given(
    st.lists(st.sampled_from([b".", b"..", b"\r\n", b"a", b"\r\n.\r\n"]), max_size=30),
    st.lists(st.integers(1, 5), min_size=1),
)
def test_a_message_in_pieces_goes_out_as_a_whole_one_does(parts: list[bytes], sizes: list[int]) -> None:
    async def sent() -> bytes:
        return b"".join([piece async for piece in dot_stuffed_pieces(cut(content, sizes))])

    content = b"".join(parts)
    assert asyncio.run(sent()) == dot_stuffed(content)

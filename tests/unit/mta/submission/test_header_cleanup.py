"""Whatever the header, what leaves is fit to leave, and once is enough."""

from __future__ import annotations

from datetime import UTC, datetime
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.header_fields import BY_NAME, OnSubmission
from mta.mail.address import Address
from mta.mail.headers import HeaderError, Headers
from mta.mail.identity import new_message_id
from mta.mail.message import Envelope, Message, Origin, Recipient
from mta.submission.header_cleanup import UnfitFieldError, clean_header
from tests.odd_messages import odd_message

HOST = frozenset({"mx.example.com"})
GONE = {name for name, field in BY_NAME.items() if field.submitted in (OnSubmission.REMOVE, OnSubmission.OURS)}
PIECES = st.sampled_from(
    ["ä", "Ö ", "a", " ", "\t", '"', "\\", "(", ")", "<", ">", "@", ",", ";", ":", "=", "x@shop.example", "\r\n ",
     "=?utf-8?q?x?=", "bücher.example", "\u200b", "\u3002", "漢" * 30, "name=", "filename*0=", "'"]
)  # fmt: skip
VALUES = st.lists(PIECES, max_size=12).map("".join)
NAMES = st.sampled_from([*(field.name for field in BY_NAME.values()), "X-Other", "X-MTA-Topic"])


def message(content: bytes, *, smtputf8: bool = False) -> Message:
    envelope = Envelope(None, (Recipient(Address.parse("bob@example.net")),), smtputf8=smtputf8)
    origin = Origin(1, "shop", None, ip_address("127.0.0.1"), "app", "s1", "ESMTP", datetime.now(UTC))
    return Message.of(new_message_id(), envelope, origin, content)


def check(content: bytes, *, smtputf8: bool) -> None:
    subject = message(content, smtputf8=smtputf8)
    try:
        cleaned, _ = clean_header(subject, HOST)
    except UnfitFieldError as error:
        refused = str(error)
    else:
        refused = ""
    if refused:
        assert refused.startswith("field ")
        assert ", line " in refused
        return
    header = cleaned.content[: cleaned.headers.size]
    assert cleaned.headers == Headers.split(cleaned.content)
    assert cleaned.content[cleaned.headers.size :] == content[subject.headers.size :]
    assert not GONE & {name for name, _ in cleaned.headers.fields}
    assert b"\nx-mta-" not in b"\n" + header.lower()
    assert header.isascii() or (smtputf8 and header.decode())
    assert max(map(len, header.split(b"\r\n"))) <= 998
    assert clean_header(cleaned, HOST) == (cleaned, "")


@pytest.mark.parametrize("seed", range(300))
def test_odd_messages(seed: int) -> None:
    check(odd_message(seed), smtputf8=seed % 2 == 1)


@given(st.lists(st.tuples(NAMES, VALUES), max_size=6), st.booleans())
def test_any_header(fields: list[tuple[str, str]], smtputf8: bool) -> None:
    content = "".join(f"{name}: {value}\r\n" for name, value in fields) + "\r\nbody\r\n"
    try:
        Headers.split(content.encode())
    except HeaderError:
        return
    check(content.encode(), smtputf8=smtputf8)

"""One reading of From for every rule: the name as it shows, and the address as it was checked."""

from __future__ import annotations

import pytest

from mta.mail.address import AddressError
from mta.mail.mailbox import parse_mailbox
from policy.text.author import authors, read_author
from tests.unit.policy.make import message


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (b" ann@shop.example", ""),
        (b" <ann@shop.example>", ""),
        (b" Ann Lee <ann@shop.example>", "Ann Lee"),
        (b' "Lee, Ann" <ann@shop.example>', "Lee, Ann"),
        (b" ann@shop.example (Ann Lee)", "Ann Lee"),
        (b" =?utf-8?q?Ann_L=C3=A9e?=\r\n <ann@shop.example>", "Ann Lée"),
        (b' "=?utf-8?q?Ann?=" <ann@shop.example>', "Ann"),
        ("Ann Lée <ann@shop.example>".encode(), "Ann Lée"),
    ],
)
def test_name_and_address(value: bytes, name: str) -> None:
    author = read_author(value)
    assert (author.name, str(author.address)) == (name, "ann@shop.example")
    assert parse_mailbox(value.decode().replace("\r\n", "")) == author.address


@pytest.mark.parametrize("value", [b"", b" Ann", b" a@b.example, c@d.example", b" <a@b.example> <c@d.example>"])
def test_what_is_not_one_author_is_an_error_each_time(value: bytes) -> None:
    for _ in range(2):
        with pytest.raises(AddressError):
            read_author(value)


def test_authors_of_several_fields_leaving_out_what_cannot_be_read() -> None:
    subject = message("From: a@shop.example\r\nSender: x, y\r\nReply-To: B <b@shop.example>\r\n")
    found = authors(subject, b"from", b"sender", b"reply-to")
    assert [(author.name, author.address.local) for author in found] == [("", "a"), ("B", "b")]

"""Receivers that cannot take a message as it is: it is not sent, and the reply says what is missing."""

import pytest

from mta.mail.address import Address
from mta.mail.delivery import Stage as Reached
from mta.mail.message import Body
from mta.testing.script import Script
from tests.flow.far_end import CONTENT, deliver_to, far_end, replies

EIGHT_BIT = "From: ann@sender.example\r\nSubject: x\r\n\r\nGrüße\r\n".encode()
UTF8_HEADER = "From: ann@sender.example\r\nSubject: Grüße\r\n\r\nx\r\n".encode()


async def test_too_large() -> None:
    async with far_end() as far:
        receiver = await far.receiver(Script(extensions=("PIPELINING", f"SIZE {len(CONTENT)}")))
        assert replies(await far.deliver("bob@example.com")) == {"bob": "250 2.0.0"}
        attempt = await far.deliver("bob@example.com", content=CONTENT + b"x\r\n")
        assert replies(attempt) == {"bob": "552 5.3.4"}
        assert attempt.results[0].stage is Reached.SENDER
        assert len(receiver.ledger.receipts) == 1
        assert [line[:4] for _, line in receiver.ledger.commands].count("MAIL") == 1
        assert replies(await far.deliver("bob@example.com")) == {"bob": "250 2.0.0"}
        assert receiver.ledger.connections == 1


@pytest.mark.parametrize("offered", ["SIZE", "SIZE 0", "SIZE lots", "SIZE -1", "SIZE 99999999999999999999999999"])
async def test_no_usable_limit_is_no_limit(offered: str) -> None:
    async with far_end() as far:
        receiver = await far.receiver(Script(extensions=("PIPELINING", offered)))
        assert replies(await far.deliver("bob@example.com")) == {"bob": "250 2.0.0"}
        assert receiver.ledger.receipts[0].sender.parameters == (f"SIZE={len(CONTENT)}",)


@pytest.mark.parametrize(
    ("recipient", "content", "fields", "reply"),
    [
        ("bob@example.com", EIGHT_BIT, {"body": Body.EIGHT_BIT}, "550 5.6.3"),
        ("bob@example.com", UTF8_HEADER, {"smtputf8": True, "body": Body.EIGHT_BIT}, "550 5.6.7"),
        ("änne@example.com", CONTENT, {"smtputf8": True}, "553 5.6.7"),
        ("bob@example.com", CONTENT, {"smtputf8": True, "sender": Address.parse("änne@sender.example")}, "553 5.6.7"),
    ],
)
async def test_what_needs_more_than_ascii(recipient: str, content: bytes, fields: dict, reply: str) -> None:
    async with far_end() as far:
        receiver = await far.receiver(Script(extensions=("PIPELINING",)))
        attempt = await far.deliver(recipient, content=content, **fields)
        assert list(replies(attempt).values()) == [reply]
        assert [line for _, line in receiver.ledger.commands] == ["EHLO out.sender.example"]


async def test_only_who_needs_it_fails() -> None:
    async with far_end() as far:
        receiver = await far.receiver(Script(extensions=("PIPELINING", "8BITMIME")))
        attempt = await far.deliver("änne@example.com", "bob@example.com", content=CONTENT, smtputf8=True)
        assert replies(attempt) == {"änne": "553 5.6.7", "bob": "250 2.0.0"}
        assert receiver.ledger.receipts[0].sender.parameters == ()


@pytest.mark.parametrize(
    "local",
    ["a> ORCPT=y", "a\r\nRCPT TO:<eve@evil.example>", "a b", "a\tb", "a\x00b", "a<b", '"x@a> ORCPT=y"', "a\nb", ""],
)
async def test_nothing_ambiguous_gets_onto_the_wire(local: str) -> None:
    """Whatever another part of the service may have let through."""
    async with far_end() as far:
        receiver = await far.receiver()
        bad = Address(local, "example.com")
        route = await far.route()
        delivery = deliver_to("bob@example.com", "eve@example.com", sender=bad)
        attempt = await far.courier.deliver(delivery, route, far.path(route), CONTENT)
        assert set(replies(attempt).values()) == {"553 5.1.3"}
        delivery = deliver_to("bob@example.com")
        object.__setattr__(delivery.recipients[0], "address", bad)
        attempt = await far.courier.deliver(delivery, route, far.path(route), CONTENT)
        assert set(replies(attempt).values()) == {"553 5.1.3"}
        assert [line for _, line in receiver.ledger.commands] == ["EHLO out.sender.example"]


async def test_parameters_that_are_none_are_left_out() -> None:
    async with far_end() as far:
        receiver = await far.receiver()
        bad = {"0": {"orcpt": "rfc822;a b\r\nRSET"}}
        await far.deliver("bob@example.com", envid="a\r\nRSET", **bad)
        [receipt] = receiver.ledger.receipts
        assert receipt.sender.parameters == (f"SIZE={len(CONTENT)}",)
        assert receipt.recipients[0].parameters == ()

"""The chain and the rules of the first profile: what passes, what is refused, and what the client is told."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from ipaddress import ip_address

import pytest

from mta.mail.address import Address
from mta.mail.headers import Headers
from mta.mail.identity import new_message_id
from mta.mail.message import Envelope, Message, Origin, Recipient
from policy.account import Account
from policy.base import Facts, RecipientFacts, Rule, Suppression
from policy.chain import Chain, Screened, screen
from policy.house import House
from policy.rules.headers import RequiredHeaders
from policy.rules.loops import Loops
from policy.rules.sender_identity import SenderIdentity
from policy.rules.size import Size
from policy.rules.suppressed import Suppressed
from policy.tokens import Tokens

NOW = datetime(2026, 11, 21, 20, 0, tzinfo=UTC)
ACCOUNT = Account(1, "shop", frozenset({"shop.example", "xn--bcher-kva.example"}))
FACTS = Facts(ACCOUNT, recipients=(RecipientFacts(Address.parse("bob@example.net")),))
FULL = (
    b"From: Ann <ann@shop.example>\r\nTo: bob@example.net\r\nDate: x\r\nMessage-ID: <x@y>\r\nSubject: s\r\n\r\nbody\r\n"
)
HOUSE = House("mx.example", Tokens(bytes(32)), message_size=10_000, received_count=3)
RULES: tuple[Rule, ...] = (
    Size(Size.Settings(), HOUSE),
    Loops(Loops.Settings(), HOUSE),
    RequiredHeaders(RequiredHeaders.Settings(), HOUSE),
    SenderIdentity(SenderIdentity.Settings(), HOUSE),
    Suppressed(Suppressed.Settings(), HOUSE),
)


def message(content: bytes = FULL, sender: str | None = "ann@shop.example") -> Message:
    envelope = Envelope(Address.parse(sender) if sender else None, (Recipient(Address.parse("bob@example.net")),))
    origin = Origin(1, "shop", "shop", ip_address("127.0.0.1"), "app", "s1", "ESMTPSA", NOW)
    return Message(new_message_id(), envelope, origin, Headers.split(content), content)


def check(subject: Message, rules: Sequence[Rule] = RULES, facts: Facts = FACTS) -> Screened:
    return screen(Chain(rules), subject, facts, NOW)


def refused(subject: Message, facts: Facts = FACTS) -> str:
    refusal = check(subject, facts=facts).refusal
    assert refusal is not None
    return str(refusal)


def test_a_good_message_passes_every_rule_and_each_is_recorded() -> None:
    screened = check(message())
    assert screened.refusal is None
    assert screened.message.content == FULL
    assert [(f.policy, f.verdict) for f in screened.findings] == [
        ("size", "pass"), ("loops", "pass"), ("headers", "pass"), ("sender_identity", "pass"), ("suppressed", "pass"),
    ]  # fmt: skip


def test_all_rules_run_even_after_a_refusal() -> None:
    screened = check(message(b"From: eve@evil.example\r\nFrom: ann@shop.example\r\n\r\n", sender="eve@evil.example"))
    assert [f.policy for f in screened.findings if f.verdict == "refuse"] == ["headers", "sender_identity"]


def test_the_order_of_rules_does_not_change_what_is_refused() -> None:
    subjects = [
        message(),
        message(sender="eve@evil.example"),
        message(b"To: x@example.net\r\n\r\n"),
        message(b"x: y\r\n" * 9),
    ]
    for subject in subjects:
        verdicts = {check(subject, order).refusal is None for order in itertools.permutations(RULES)}
        assert len(verdicts) == 1


def test_missing_date_and_message_id_are_added() -> None:
    subject = message(b"From: ann@shop.example\r\n\r\nbody\r\n")
    amended = check(subject).message
    assert amended.headers.value(b"date") == "Sat, 21 Nov 2026 20:00:00 +0000"
    assert (amended.headers.value(b"message-id") or "").endswith("@mx.example>")
    assert amended.content.endswith(subject.content)


@pytest.mark.parametrize("name", ["From", "To", "Subject", "Date", "Message-ID", "Reply-To", "Content-Type"])
def test_a_field_that_may_come_once_comes_once(name: str) -> None:
    twice = f"{name}: ann@shop.example\r\n".encode() * 2
    rest = b"" if name == "From" else b"From: ann@shop.example\r\n"
    assert "550 5.6.0 headers:" in refused(message(twice + rest + b"\r\n"))


def test_no_author_no_mail() -> None:
    assert refused(message(b"Subject: x\r\n\r\n")) == "550 5.6.0 headers: the From field is missing"


@pytest.mark.parametrize(
    ("sender", "author"),
    [
        ("eve@evil.example", "ann@shop.example"),
        ("ann@shop.example", "eve@evil.example"),
        ("ann@shop.example", "eve@sub.shop.example"),
        ("ann@shop.example", "eve@shop.example.evil.example"),
        ("ann@shop.example", "ann@shop.example, eve@evil.example"),
        ("ann@shop.example", "ann@shop.example <eve@evil.example>"),
        ("ann@shop.example", "eve@evil.example (ann@shop.example)"),
        ("ann@shop.example", "=?utf-8?q?=3Cann=40shop=2Eexample=3E?= <eve@evil.example>"),
        ("ann@shop.example", "ann@shop\u3002example\u200d.evil.example"),
        ("ann@shop.example", ""),
        (None, "eve@evil.example"),
    ],
)
def test_nobody_sends_in_another_name(sender: str | None, author: str) -> None:
    subject = message(f"From: {author}\r\n\r\n".encode(), sender)
    assert refused(subject).startswith("550 5.7.1 sender_identity:")


def test_the_sender_field_counts_too() -> None:
    subject = message(b"From: ann@shop.example\r\nSender: eve@evil.example\r\n\r\n")
    assert "Sender field eve@evil.example is not of this account" in refused(subject)


@pytest.mark.parametrize("author", ["ANN@SHOP.EXAMPLE", "Ann <ann@Bücher.example>", "Ann <ann@xn--bcher-kva.example>"])
def test_case_and_script_of_the_domain_do_not_matter(author: str) -> None:
    assert check(message(f"From: {author}\r\n\r\n".encode())).refusal is None


def test_a_bounce_has_no_envelope_sender() -> None:
    assert check(message(sender=None)).refusal is None


def test_too_large() -> None:
    assert refused(message(FULL + b"x" * 10_000)).startswith("552 5.3.4 size:")


def test_going_round_in_circles() -> None:
    assert refused(message(b"Received: x\r\n" * 4 + FULL)).startswith("554 5.4.6 loops: 4 Received fields")


def test_suppressed_says_why_and_what_to_do() -> None:
    entry = Suppression(
        Address.parse("bob@example.net"), 1, "hard bounce", "no-such-user", datetime(2026, 3, 1, tzinfo=UTC)
    )
    recipient = RecipientFacts(entry.address, suppressions=(entry,))
    assert refused(message(), replace(FACTS, recipients=(recipient,))) == (
        "550 5.7.1 suppressed: bob@example.net is on the suppression list since 2026-03-01 "
        "(hard bounce, rule no-such-user); remove the address from your list"
    )

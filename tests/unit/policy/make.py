"""What tests of rules need: a context, an account, messages, facts, and a short way to ask one rule."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime
from ipaddress import ip_address
from typing import Any

from mta.mail.address import Address
from mta.mail.identity import new_message_id
from mta.mail.message import Envelope, Message, Origin, Recipient
from policy.accounts.account import Account, Stream
from policy.base import Amend, ContentRule, Facts, Hold, Observe, Pass, RecipientFacts, Refuse, SenderRule, Verdict
from policy.permission.tokens import SampleTokens
from policy.rule_context import RuleContext
from policy.text.message_text import MessageText

NOW = datetime(2026, 11, 21, 20, 0, tzinfo=UTC)
CONTEXT = RuleContext("mx.example", SampleTokens(), message_size=10_000, received_count=3)
ACCOUNT = Account(1, "shop", frozenset({"shop.example", "xn--bcher-kva.example"}))
BOB = Address.parse("bob@example.net")
HEAD = b"From: Ann <ann@shop.example>\r\nTo: bob@example.net\r\nSubject: s\r\n"


def message(head: bytes | str = HEAD, body: bytes = b"body\r\n", *, sender: str | None = "ann@shop.example",
            to: Iterable[str] = ("bob@example.net",)) -> Message:  # fmt: skip
    """A message with the header block ``head`` (whole lines) from ``sender`` to each address of ``to``."""
    content = (head.encode() if isinstance(head, str) else head) + b"\r\n" + body
    recipients = tuple(Recipient(Address.parse(address)) for address in to)
    envelope = Envelope(Address.parse(sender) if sender else None, recipients)
    origin = Origin(1, "shop", "shop-1", ip_address("127.0.0.1"), "app", "s1", "ESMTPSA", NOW)
    return Message.of(new_message_id(), envelope, origin, content)


def facts(account: Account = ACCOUNT, stream: Stream = Stream.MARKETING, **others: Any) -> Facts:
    return Facts(account, stream, **others)


def account(**changes: Any) -> Account:
    """The usual account, changed."""
    return replace(ACCOUNT, **changes)


def ask(rule: ContentRule, subject: Message | None = None, known: Facts | None = None, now: datetime = NOW) -> str:
    """One line: "pass: evidence", "amend: note", "hold: reason" or "refuse: 550 5.7.1 text"."""
    subject = message() if subject is None else subject
    known = facts() if known is None else known
    verdict, evidence = rule.on_content(subject, replace(known, reading=MessageText(subject.content)), now)
    return _line(verdict, evidence)


def ask_recipient(rule: Any, recipient: RecipientFacts | str, known: Facts | None = None, now: datetime = NOW) -> str:
    """The same for a rule about recipients."""
    if isinstance(recipient, str):
        recipient = RecipientFacts(Address.parse(recipient))
    return _line(*rule.on_recipient(recipient, facts() if known is None else known, now))


def ask_sender(rule: SenderRule, sender: str | None = "ann@shop.example", known: Facts | None = None) -> str:
    """The same for a rule about senders."""
    known = facts() if known is None else known
    return _line(*rule.on_sender(Address.parse(sender) if sender else None, known, NOW))


def _line(verdict: Verdict, evidence: str) -> str:
    match verdict:
        case Pass():
            return f"pass: {evidence}"
        case Amend(_, note):
            return f"amend: {note}"
        case Hold():
            return f"hold: {verdict}"
        case Refuse(reply):
            return f"refuse: {reply}"
        case Observe(instead):
            return f"observe: would {_line(instead, evidence)}"

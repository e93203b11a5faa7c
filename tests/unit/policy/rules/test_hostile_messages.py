"""Whatever a client writes, no rule raises or takes more than a bounded time for each octet, and no answer holds what a
terminal would obey."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from functools import cache
from types import FrameType

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mta.mail.message import Message
from policy.base import Refuse
from policy.chain import Chain, personalise, screen
from policy.plugins import installed
from policy.text.message_text import MessageText
from tests.unit.policy.make import CONTEXT, NOW, facts, message

NAMES = (
    "size", "loops", "headers", "sender_identity", "account_state", "terms", "stream", "quota", "scanned",
    "reply_address", "freemail_from", "subject_prefix", "display_name", "confusable_names", "confusable_links",
    "hidden_text",
)  # fmt: skip
CLASSES = installed().classes
RULES = [CLASSES[name](CLASSES[name].Settings(), CONTEXT) for name in NAMES]

FIELDS = st.sampled_from(
    ["From", "Sender", "Reply-To", "To", "Subject", "Date", "Message-ID", "Resent-From", "Received"]
)
PIECES = st.sampled_from(
    ["<ann@shop.example>", "ann@shop.example", '"', "\\", "(", ")", "<", ">", "@", ",", ";", ":", "=?utf-8?q?",
     "=?utf-8?b?", "?=", "=00=0D=0A", "=1B[2J", "\u202e", "\u200b", "p\u0430y", "xn--", ".", "Re:",
     "Sat, 21 Nov 2026 20:00:00", "+9999", "é", "\udcff", "\x1b", " ", "\t", "paypal.com", "99999999999999999999"]
)  # fmt: skip
VALUES = st.lists(PIECES, max_size=12).map("".join)


@pytest.mark.parametrize("name", NAMES)
@given(st.lists(st.tuples(FIELDS, VALUES), max_size=6), st.binary(max_size=200))
def test_no_rule_raises(name: str, fields: list[tuple[str, str]], body: bytes) -> None:
    (step,) = Chain([RULES[NAMES.index(name)]]).shared
    assert step.on_content
    head = "".join(f"{field}: {value}\r\n" for field, value in fields).encode("utf-8", "surrogateescape")
    subject = message(head, body)
    verdict, evidence = step.on_content(subject, facts(reading=MessageText(subject.content)), NOW)
    if isinstance(verdict, Refuse):
        assert verdict.reply.text.startswith(f"{name}: ")
        assert verdict.reply.code in (450, 451, 550, 552, 554)
        assert "\n" not in verdict.reply.text
        assert "\x1b" not in verdict.reply.text
    else:
        assert "\n" not in evidence
        assert "\x1b" not in evidence


HTML_PIECES = st.sampled_from(
    ["<div style='color:#010203;background:#030201'>", "<p style='color:{n}'>", "<font color=#{n}>", "</div>",
     "<b id={n}>", "<a href=https://shop.example/{n}>", "Unsubscribe ", "<table><tr><td>", "<!--", "-->", "&amp;", '"',
     "<style>.c{n}{{color:#{n}}}</style>", "<style>div div div p{{display:none}}</style>", "<p class=c{n}>", "<",
     "<style>@media screen{{", "}}</style>", "<span style='font-size:0'>", "<i style='visibility:hidden'>", "a\u0301",
     "<i style='visibility:visible'>", "1234 AB ", "Shop B.V. ", "\u200b", "<img alt=x src=y>"]
)  # fmt: skip
CALLS_PER_OCTET = 20
NESTED = 350_000  # calls at most for what stands in one another, until the budget for reading is used up


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(HTML_PIECES, st.integers(1, 400)), min_size=1, max_size=12))
@example([("<table><tr><td>", 134), ("<p style='color:{n}'>", 222)])
def test_the_work_of_the_chain_grows_with_the_message_only(pieces: list[tuple[str, int]]) -> None:
    html = "".join(piece.format(n=f"{turn:06x}") for piece, count in pieces for turn in range(count))
    subject = message("From: a@shop.example\r\nContent-Type: text/html; charset=utf-8\r\n", html.encode()[:250_000])
    _load()
    calls = _calls(lambda: _judge(subject))
    assert calls < NESTED + CALLS_PER_OCTET * len(subject.content)


@cache
def _load() -> None:
    """Judge one message, so that what is read for the first one is not counted."""
    _judge(
        message(
            "From: a@shop.example\r\nContent-Type: text/html\r\n", b"<p>Shop B.V., 1234 AB <a href=x>Unsubscribe</a>"
        )
    )


def _calls(work: Callable[[], object]) -> int:
    """Return how many functions ``work`` calls, those of C included."""
    count = 0

    def seen(frame: FrameType, event: str, _: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(seen)
    try:
        work()
    finally:
        sys.setprofile(None)
    return count


EVERY_RULE = Chain([rule(rule.Settings(), CONTEXT) for _, rule in sorted(CLASSES.items())])


def _judge(subject: Message) -> None:
    known = facts(reading=MessageText(subject.content))
    shared = screen(EVERY_RULE, subject, known, NOW)
    personalise(EVERY_RULE, shared.message, known, NOW)


def _coloured(before: str, count: int = 4900) -> bytes:
    return "".join(before.format(n=f"{turn * 2621 & 0xFFFFFF:06x}") for turn in range(count)).encode()


BOMBS = {
    "colours": ("text/html", _coloured("<p style='color:#{n};background:#{n}'>a")),
    "nested colours": ("text/html", _coloured("<div style='color:#{n};background:#{n}'>a")),
    "fonts": ("text/html", _coloured("<font color=#{n}>a")),
    "links in bold": ("text/html", b"<a href=https://a.example/x><b>" * 2400 + b"unsubscribe " * 10_000),
    "links": ("text/html", b"<a href=https://a.example/x>Unsubscribe or log in</a>" * 2400),
    "plain links": ("text/plain", b"https://shop.example/u/abc " * 40_000),
    "marks": ("text/plain", ("a" + "\u0301" * 100_000).encode()),
    "bodies": (
        "multipart/mixed; boundary=b",
        b"".join(b"--b\r\nContent-Type: text/html\r\n\r\n" + _coloured("<i id=a{n}>x", 199) for _ in range(20)),
    ),
    "types": ("multipart/mixed" + "; boundary*0=b" * 2000, b"--b\r\n" * 10_000),
}


@pytest.mark.parametrize("kind", BOMBS)
def test_a_message_made_to_be_slow_is_judged_all_the_same(kind: str) -> None:
    """A tenth of a second where it once took up to ten: the limit only tells the two apart."""
    content_type, body = BOMBS[kind]
    subject = message(f"From: a@shop.example\r\nContent-Type: {content_type}\r\n", body)
    began = time.process_time()
    _judge(subject)
    assert time.process_time() - began < 2

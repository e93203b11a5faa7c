"""Whatever a client writes into its fields, no rule raises, and no answer holds what a terminal would obey."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policy.base import Refuse
from policy.chain import Chain
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

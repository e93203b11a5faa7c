"""A first mail does not pretend to be an answer."""

from __future__ import annotations

import pytest

from policy.accounts.account import Stream
from policy.rules.content.subject_prefix import SubjectPrefix
from tests.unit.policy.make import CONTEXT, ask, facts, message

RULE = SubjectPrefix(SubjectPrefix.Settings(), CONTEXT)


def answer(subject: str, stream: Stream = Stream.MARKETING, more: str = "") -> str:
    return ask(RULE, message(f"Subject: {subject}\r\n{more}"), facts(stream=stream))


@pytest.mark.parametrize(
    "subject",
    ["Re: your order", "RE: x", "re:x", "Re : x", "  Re: x", "Re[2]: x", "RE(3): x", "Re^4: x", "Fwd: x", "FW: x",
     "AW: x", "WG: x", "Antw: x", "TR: x", "RV: x", "SV: x", "[News] Re: x", "=?utf-8?q?Re=3A?= x",
     "=?utf-8?b?UmU6IHg=?=", "Re\uff1a x", "Ｒｅ: x", "R\u200be: x", "Rép: x", "回复: x"],
)  # fmt: skip
def test_a_fake_answer(subject: str) -> None:
    assert answer(subject).startswith('refuse: 550 5.7.1 subject_prefix: the subject begins with "')


@pytest.mark.parametrize(
    "subject",
    ["", "Your order", "Regarding: x", "Reg: x", "Reminder: pay", "Free: x", "Re x", "Recipe: soup", "Aware: x",
     "More: re: x", "=?unknown?b?UmU6?="],
)  # fmt: skip
def test_an_honest_subject(subject: str) -> None:
    assert answer(subject) == "pass: no prefix"


@pytest.mark.parametrize("field", ["In-Reply-To", "References"])
def test_a_true_answer_is_transactional(field: str) -> None:
    more = f"{field}: <1@example.net>\r\n"
    assert answer("Re: x", Stream.TRANSACTIONAL, more) == "pass: answers another message"
    assert answer("Re: x", Stream.MARKETING, more).startswith("refuse")
    assert answer("Re: x", Stream.TRANSACTIONAL).startswith("refuse")


def test_a_message_without_a_subject() -> None:
    assert ask(RULE, message("From: a@shop.example\r\n")) == "pass: no prefix"

"""The fields a message must have, those it may have once, and what is added."""

from __future__ import annotations

import pytest

from config.header_fields import BY_NAME
from policy.base import Amend
from policy.rules.content.headers import ONCE, RequiredHeaders
from tests.unit.policy.make import CONTEXT, NOW, ask, facts, message

RULE = RequiredHeaders(RequiredHeaders.Settings(), CONTEXT)
FROM = "From: ann@shop.example\r\n"
WHOLE = f"{FROM}Date: Sat, 21 Nov 2026 20:00:00 +0000\r\nMessage-ID: <1@shop.example>\r\n"


def test_a_whole_header() -> None:
    assert ask(RULE, message(WHOLE)) == "pass: 3 fields"


def test_missing_date_and_message_id_are_added() -> None:
    subject = message(FROM)
    verdict, _ = RULE.on_content(subject, facts(), NOW)
    assert isinstance(verdict, Amend)
    assert verdict.note == "added Date, Message-ID"
    date, identity = verdict.fields
    assert date == b"Date: Sat, 21 Nov 2026 20:00:00 +0000"
    assert identity.startswith(b"Message-ID: <")
    assert identity.endswith(b"@mx.example>")


@pytest.mark.parametrize("name", [BY_NAME[name].name for name in ONCE])
def test_a_field_that_may_come_once_comes_once(name: str) -> None:
    others = "" if name == "From" else FROM
    answer = ask(RULE, message(others + f"{name}: ann@shop.example\r\n{name.upper()}: ann@shop.example\r\n"))
    assert answer == f"refuse: 550 5.6.0 headers: {name} may appear only once; send one of each"


def test_what_must_be_there() -> None:
    assert ask(RULE, message("To: a@b.example\r\n")) == ("refuse: 550 5.6.0 headers: From missing; add what is missing")
    strict = RequiredHeaders(
        RequiredHeaders.Settings(required=["From", "To", "Subject", "Date", "Message-ID"]), CONTEXT
    )
    assert "To, Subject missing" in ask(strict, message(FROM))
    assert ask(strict, message(f"{FROM}To: a@b.example\r\nSubject: x\r\n")) == "amend: added Date, Message-ID"


@pytest.mark.parametrize("head", [f"Subject : x\r\n{FROM}", "From \t: ann@shop.example\r\n"])
def test_white_space_before_a_colon(head: str) -> None:
    assert "there is white space before the colon of" in ask(RULE, message(head))


@pytest.mark.parametrize(
    "value",
    ["x", "<x>", "x@y", "<x@y> <z@y>", "<x @y>", "<@y>", "<x@>", "<x@@y>", "", "<x@y", "<é@y>\0"],
)
def test_a_message_id_that_is_none(value: str) -> None:
    subject = message(f"{FROM}Message-ID: {value}\r\n")
    assert "is not of the form <unique@your.domain>; fix it, or leave it out" in ask(RULE, subject)


@pytest.mark.parametrize("value", ["<x@y>", " <a.b+c=d$e@[127.0.0.1]>", "\r\n <x@y>"])
def test_a_message_id(value: str) -> None:
    assert ask(RULE, message(f"{FROM}Message-ID:{value}\r\n")).startswith("amend: added Date")


@pytest.mark.parametrize(
    "value", ["x", "", "tomorrow", "Sat, 99 Nov 2026 20:00:00 +0000", "9" * 500, "2026-11-21", "é"]
)
def test_a_date_that_is_none(value: str) -> None:
    answer = ask(RULE, message(f"{FROM}Date: {value}\r\n"))
    assert "is none (RFC 5322 3.3): " in answer
    assert "; write it as Sat, 21 Nov 2026 20:00:00 +0000" in answer


@pytest.mark.parametrize(
    ("value", "good"),
    [
        ("Sat, 21 Nov 2026 20:00:00 +0000", True),
        ("21 Nov 2026 21:30 +0100 (CET)", True),
        ("Fri, 20 Nov 2026 20:00:00 GMT", True),
        ("Thu, 19 Nov 2026 19:59:59 +0000", False),
        ("Mon, 23 Nov 2026 20:00:01 -0000", False),
        ("Sat, 01 Jan 0001 00:00:00 +2359", False),
    ],
)
def test_a_date_within_two_days(value: str, good: bool) -> None:
    rule = RequiredHeaders(RequiredHeaders.Settings(date_within="2d"), CONTEXT)
    answer = ask(rule, message(f"{FROM}Message-ID: <1@x>\r\nDate: {value}\r\n"))
    assert answer.startswith("pass" if good else "refuse: 550 5.6.0 headers: the Date")

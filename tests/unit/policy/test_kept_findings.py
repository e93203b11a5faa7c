"""What is kept of a page for the next message changes no finding."""

from __future__ import annotations

from dataclasses import replace

import pytest

from policy.accounts.account import Identity
from policy.base import Finding
from policy.text import message_text
from policy.text.known_texts import read_text
from policy.text.message_text import MAX_CACHED, MAX_KEPT, MessageText, View
from policy.text.page_cache import PageCache
from tests.golden.findings.compare import findings_of
from tests.golden.findings.messages import Case, case

MESSAGES = 30
OTHER = Identity("en", ("Moor & Wool Ltd",), "14 Station Road", "LS1 4AB", "Leeds", "GB", "+44 20 7946 0123",
                 "help@moorwool.example", "Companies House", "03456789")  # fmt: skip
ANNOUNCED = b"List-Unsubscribe: <https://shop.example/aanbieding/1?bron=knop>, <https://shop.example/n/1>\r\n"


def read_anew(given: Case) -> Case:
    return replace(given, facts=replace(given.facts, reading=MessageText(given.message.content)))


def of_another_sender(given: Case) -> Case:
    account = replace(given.facts.account, identities=(OTHER,))
    return read_anew(replace(given, facts=replace(given.facts, account=account)))


def announced_elsewhere(given: Case) -> Case:
    content = ANNOUNCED + given.message.content
    message = given.message.with_content(content)
    return read_anew(replace(given, message=message))


def all_findings(cases: list[Case]) -> list[list[Finding]]:
    return [findings_of(each) for each in cases]


def test_findings_are_the_same_with_what_was_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    given = [case(number) for number in range(MESSAGES)]
    ways = (read_anew, of_another_sender, announced_elsewhere)
    monkeypatch.setattr(message_text, "_PAGES", PageCache(0))
    alone = [all_findings([way(each) for each in given]) for way in ways]
    monkeypatch.setattr(message_text, "_PAGES", kept := PageCache(MAX_CACHED))
    for _ in range(3):  # a page is kept when it comes again
        together = [all_findings([way(each) for each in given]) for way in ways]
    assert together == alone
    assert kept.octets > 0
    assert alone[0] != alone[1] != alone[2]


def test_findings_are_the_same_when_the_body_was_read_before() -> None:
    """Each body comes three times, under headers that differ, and is read once."""
    given, kept = [case(number) for number in range(MESSAGES)], 0
    for way in (of_another_sender, announced_elsewhere):
        for number, each in enumerate(map(way, given)):
            alone = findings_of(each)
            for n in range(3):
                content = b"X-Number: %d\r\n" % n + each.message.content
                message = each.message.with_content(content)
                read = read_text(message)
            assert read is read_text(each.message), number
            again = replace(each, facts=replace(each.facts, reading=read))
            assert [findings_of(again) for _ in range(2)] == [alone, alone], number
            kept += len(read.passes)
    assert kept > MESSAGES


def test_a_link_that_only_the_header_names_counts_for_those_messages_alone() -> None:
    given = case(0)
    body = b"\r\n\r\n" + b"Hello, this is our news of the week. https://shop.example/n/1\r\n" * 2
    plain = b"From: shop@shop.example\r\nTo: ann@example.net\r\nSubject: News\r\nContent-Type: text/plain"

    def found(head: bytes) -> list[str]:
        message = given.message.with_content(head + body)
        again = replace(given, message=message, facts=replace(given.facts, reading=read_text(message)))
        return [each.verdict for each in findings_of(again) if each.policy == "unsubscribe"]

    announced = ANNOUNCED.rstrip() + b"\r\nList-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n" + plain
    assert [found(announced) for _ in range(4)] == [["pass"]] * 4
    assert [found(plain) for _ in range(2)] == [["refuse"]] * 2
    assert found(announced) == ["pass"]


def test_the_same_body_of_another_type_is_read_anew() -> None:
    page = b"<p>Hello</p>\r\n"
    texts = []
    for kind in (b"text/html", b"text/plain", b"text/html", b"text/plain"):
        content = b"Content-Type: %s\r\n\r\n%s" % (kind, page)
        message = case(0).message.with_content(content)
        texts.append(read_text(message).visible.strip())
    assert texts == ["Hello", "<p>Hello</p>"] * 2


def test_what_is_kept_of_a_view_is_bounded() -> None:
    view = View("text")
    for n in range(MAX_KEPT * 3):
        assert view.kept(n, lambda n=n: [n]) == [n]  # type: ignore[misc]
    assert len(view.found) <= MAX_KEPT

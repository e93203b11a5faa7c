"""What the rules of content found in a confirmed message counts for those that match it: it is what they would find."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import datetime

import pytest

from bench.newsletter import CONTEXT, NOW, READER, facts, newsletter
from mta.mail.message import Message, Stream
from policy.base import Facts, Finding, Pass, Verdict
from policy.chain import Chain, personalise, screen
from policy.mailing.reference import Matched, ReadMessage, References, compile_reference, source_of
from policy.profile import Profiles
from policy.text.message_text import MessageText

PROFILES = ("cleverreach", "csa", "spotler", "custommail", "gmail_yahoo_2024", "can_spam")
SHIPPED = Profiles.shipped(CONTEXT)
_AS_REFERENCE = re.compile(r" \(as reference 1\)")
_TOKENS = re.compile(r"afmelden/\w+")


def changed(message: Message, *pairs: tuple[bytes, bytes]) -> Message:
    content = message.content
    for old, new in pairs:
        assert old in content
        content = content.replace(old, new)
    return message.with_content(content)


def findings(chain: Chain, message: Message, references: References | None) -> list[Finding]:
    """What the chain finds, with or without a comparison before it."""
    known = replace(facts(message), reading=MessageText(message.content))
    if references is not None:
        read = ReadMessage.of(message.headers, known.reading, message.size, [READER])
        compared = references.compare(read)
        assert isinstance(compared, Matched), compared
        known = replace(known, reference=compared)
    shared = screen(chain, message, known, NOW)
    found = [*shared.findings, *personalise(chain, shared.message, known, NOW).findings]
    return [each._replace(evidence=_AS_REFERENCE.sub("", each.evidence)) for each in found]


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("size", [4_000, 10_000, 30_000])
def test_the_findings_are_the_same_with_and_without_the_reference(profile: str, size: int) -> None:
    chain = SHIPPED.chain(profile, Stream.MARKETING)
    assert chain is not None
    first = newsletter(size)
    references = References((compile_reference(1, source_of(first.content)),))
    for message in (first, changed(first, (b"afmelden/8f3a", b"afmelden/x7q12"), (b"aanbieding/1", b"aanbieding/7b"))):
        whole = findings(chain, message, None)
        for with_reference, alone in zip(findings(chain, message, references), whole, strict=True):
            if with_reference.policy == "confirmation":
                assert "the message is that of reference 1" in with_reference.evidence
                continue
            said = [_TOKENS.sub("", each.evidence) for each in (with_reference, alone)]
            assert (with_reference.verdict, said[0]) == (alone.verdict, said[1])


class Counting:
    """A rule about the content that counts how often it is asked, and refuses texts without ``wanted``."""

    name = "counting"
    content_only = True

    def __init__(self, wanted: str = "") -> None:
        self.asked, self.wanted = 0, wanted

    def on_content(self, message: Message, known: Facts, now: datetime) -> tuple[Verdict, str]:
        self.asked += 1
        return (Pass(), "read") if self.wanted in known.reading.visible else (SHIPPED, "missing")  # type: ignore[return-value]


def test_a_rule_of_content_reads_the_reference_once() -> None:
    rule = Counting()
    chain, message = Chain([rule]), newsletter(4_000)
    references = References((compile_reference(1, source_of(message.content)),))
    for _ in range(5):
        findings(chain, message, references)
    assert rule.asked == 2  # the reference, and the same with other values


def test_a_rule_that_depends_on_what_may_vary_is_asked_each_time() -> None:
    """The imprint that names the reader of the reference is not proved for other readers."""
    message = changed(newsletter(4_000), (b"To: Ann Example", b"To: J. de Vries"))
    rule = Counting(wanted="J. de Vries")
    references = References((compile_reference(1, source_of(message.content)),))
    chain = Chain([rule])
    for _ in range(3):
        findings(chain, message, references)
    assert rule.asked == 2 + 3

"""The order of a profile's rules does not change what is refused, held or dropped: only which finding stands first."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench.newsletter import CONTEXT, NOW, READER, facts, newsletter
from mta.mail.address import Address
from mta.mail.message import Message, Recipient, Stream
from policy.accounts.account import AccountStatus
from policy.base import Facts, Scan, Suppression
from policy.chain import Chain, Failing, Screened, screen
from policy.permission.suppression import Reason
from policy.profile import Profiles
from policy.text.message_text import MessageText

MESSAGE = newsletter(6_000)
FACTS = facts(MESSAGE)
(KNOWN,) = FACTS.recipients
PROFILES = Profiles.shipped(CONTEXT)
MARKETING = [name for name in PROFILES.names if PROFILES.chain(name, Stream.MARKETING)]


def rewritten(old: bytes, new: bytes) -> Callable[[Message, Facts], tuple[Message, Facts]]:
    def change(message: Message, facts: Facts) -> tuple[Message, Facts]:
        content = message.content.replace(old, new)
        return message.with_content(content), facts

    return change


def known(**changes: Any) -> Callable[[Message, Facts], tuple[Message, Facts]]:
    return lambda message, facts: (message, replace(facts, **changes))


def account(**changes: Any) -> Callable[[Message, Facts], tuple[Message, Facts]]:
    return lambda message, facts: (message, replace(facts, account=replace(facts.account, **changes)))


# What can be wrong with a message or its account, and the rule that is to say so.
WRONG = {
    "account_state": account(status=AccountStatus.SUSPENDED, reason="complaints"),
    "terms": account(terms=None),
    "quota": known(quota_left=0),
    "size": lambda message, facts: (replace(message, body=message.body + bytes(CONTEXT.message_size)), facts),
    "loops": rewritten(b"From: ", b"Received: x\r\n" * 101 + b"From: "),
    "headers": rewritten(b"Subject: ", b"Subject: twice\r\nSubject: "),
    "sender_identity": rewritten(b"nieuws@shop.example", b"nieuws@other.example"),
    "imprint": rewritten(b"Keizersgracht", b"Herengracht"),
    "unsubscribe": rewritten(b"fmelden", b"bc"),
    "confirmation": known(mailing=replace(FACTS.mailing, confirmation=None)) if FACTS.mailing else known(),
    "subject_prefix": rewritten(b"Subject: ", b"Subject: Re: "),
    "freemail_from": rewritten(b"nieuws@shop.example", b"shop@gmail.com"),
    "scanned": known(scans=(Scan("clamav", refused="a worm"),)),
    "scanned, not now": known(scans=(Scan("rspamd", failed="no answer within 10 s"),)),
}
RECIPIENTS = {
    "good": KNOWN,
    "suppressed": replace(KNOWN, suppressions=(Suppression(READER, None, Reason.HARD_BOUNCE, "r", NOW),)),
    "not asked": replace(KNOWN, consents=()),
    "lapsed": replace(
        KNOWN,
        consents=tuple(
            replace(one, given_at=one.given_at - timedelta(days=1000), contacted_at=None, confirmed_at=None)
            for one in KNOWN.consents
        ),
    ),
}


def case(wrong: list[str], people: list[str]) -> tuple[Message, Facts]:
    """The newsletter to ``people``, with all that is wrong."""
    recipients = tuple(
        replace(RECIPIENTS[kind], address=Address(f"ann.{number}", "reader.example"))
        for number, kind in enumerate(people)
    )
    message, facts = MESSAGE, replace(FACTS, recipients=recipients)
    envelope = replace(message.envelope, recipients=tuple(Recipient(one.address) for one in recipients))
    message = replace(message, envelope=envelope)
    for name in wrong:
        message, facts = WRONG[name](message, facts)
    return message, replace(facts, reading=MessageText(message.content))


def outcome(screened: Screened) -> tuple[object, ...]:
    """What a message came to, without the order in which its findings came."""
    stopped = frozenset(
        (finding.policy, finding.verdict, finding.recipient)
        for finding in screened.findings
        if finding.verdict not in ("pass", "amend")
    )
    refusal = screened.refusal
    return (
        None if refusal is None else refusal.kind,
        bool(screened.holds),
        frozenset((address, reply.kind) for address, reply in screened.dropped),
        frozenset(recipient.address for recipient in screened.message.envelope.recipients) if not refusal else None,
        stopped,
    )


@pytest.mark.parametrize("name", MARKETING)
def test_each_wrong_thing_is_found_by_its_rule(name: str) -> None:
    chain = PROFILES.chain(name, Stream.MARKETING)
    assert chain is not None
    message, known = case([], ["good"])
    assert outcome(screen(chain, message, known, NOW))[:3] == (None, False, frozenset())
    for wrong in WRONG:
        rule = wrong.partition(",")[0]
        if rule not in {step.name for step in chain.shared}:  # personal ones write what is missing
            continue
        message, known = case([wrong], ["good"])
        screened = screen(chain, message, known, NOW)
        assert rule in {finding.policy for finding in screened.findings if finding.verdict in ("refuse", "hold")}, wrong


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_any_order_refuses_the_same(data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(MARKETING), label="profile")
    chain = PROFILES.chain(name, Stream.MARKETING)
    assert chain is not None
    wrong = data.draw(st.lists(st.sampled_from(sorted(WRONG)), unique=True, max_size=4), label="wrong")
    people = data.draw(st.lists(st.sampled_from(sorted(RECIPIENTS)), min_size=1, max_size=3), label="recipients")
    failing = data.draw(st.sampled_from(Failing), label="failing")
    order = data.draw(st.permutations(chain.rules), label="order")
    message, known = case(wrong, people)
    usual = screen(Chain(chain.rules, observed=chain.observed, failing=failing), message, known, NOW)
    other = screen(Chain(order, observed=chain.observed, failing=failing), message, known, NOW)
    assert outcome(other) == outcome(usual)

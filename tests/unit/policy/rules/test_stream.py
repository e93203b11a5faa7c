"""A credential sends only what it was made for."""

from __future__ import annotations

from dataclasses import replace

from policy.accounts.account import Grant, Stream
from policy.rules.account.stream import StreamAllowed
from tests.unit.policy.make import CONTEXT, ask, facts, message

RULE = StreamAllowed(StreamAllowed.Settings(), CONTEXT)


def test_a_stream_that_is_allowed() -> None:
    assert ask(RULE) == "pass: marketing allowed"


def test_a_stream_that_is_not() -> None:
    known = facts(grant=Grant(streams=frozenset({Stream.TRANSACTIONAL})))
    assert ask(RULE, known=known) == (
        'refuse: 550 5.7.1 stream: credential "shop-1" may send transactional mail, this message is marketing; '
        "use a credential for marketing mail"
    )


def test_a_credential_without_any_stream_sends_nothing() -> None:
    known = facts(stream=Stream.TRANSACTIONAL, grant=Grant(streams=frozenset()))
    assert "may send nothing, this message is transactional" in ask(RULE, known=known)


def test_marketing_mail_has_an_envelope_sender() -> None:
    bounce = replace(message(), envelope=replace(message().envelope, sender=None))
    refusal = "refuse: 550 5.7.1 stream: marketing mail needs an envelope sender"
    assert ask(RULE, bounce).startswith(refusal)
    assert ask(RULE, bounce, known=facts(stream=Stream.TRANSACTIONAL)) == "pass: transactional allowed"

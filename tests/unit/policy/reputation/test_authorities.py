"""Whose complaint it is."""

from __future__ import annotations

import pytest

from policy.reputation.authorities import load_authorities, source_of
from policy.reputation.complaint import Source

AUTHORITIES = load_authorities()


@pytest.mark.parametrize(
    ("domain", "source"),
    [
        ("acm.nl", Source.REGULATOR),
        ("mail.cnil.fr", Source.REGULATOR),
        ("reclamecode.nl", Source.ADVERTISING_BODY),
        ("certified-senders.org", Source.CSA),
        ("spamhaus.org", Source.BLOCKLIST),
        ("notacm.nl", Source.RECIPIENT),
        ("nl", Source.RECIPIENT),
        ("acm.nl.evil.example", Source.RECIPIENT),
        ("", Source.RECIPIENT),
        (None, Source.RECIPIENT),
    ],
)
def test_by_the_domain_that_signed(domain: str | None, source: Source) -> None:
    assert source_of(domain, AUTHORITIES) is source


def test_every_source_that_writes_has_domains() -> None:
    ours = {Source.FEEDBACK_LOOP, Source.RECIPIENT, Source.BREAKER}
    assert set(AUTHORITIES.values()) == set(Source) - ours

"""Consent: whether a person has agreed to be mailed about something, on what basis, and what proves it.

It must never take silence for consent, nor count a consent for a controller or a topic it was not given for.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum


class Basis(Enum):
    """How the address came to the list. The first five may be allowed by a profile; the others never are, and are
    known so that the refusal can say why."""

    DOUBLE_OPT_IN = "double_opt_in"
    PURCHASE = "purchase"
    BUSINESS_CARD = "business_card"
    OFFLINE_FORM = "offline_form"
    CO_REGISTRATION = "co_registration"
    BOUGHT = "bought"
    RENTED = "rented"
    COPIED = "copied"  # from the web or a register
    SINGLE_OPT_IN = "single_opt_in"
    VERBAL = "verbal"
    B2B = "b2b"  # a business, without permission
    THIRD_PARTY = "third_party"
    MEMBERSHIP = "membership"
    SOCIAL_NETWORK = "social_network"


@dataclass(frozen=True, slots=True)
class Consent:
    """What a rule may know of one consent. ``topics``: lower-case names; ``*`` covers every topic.

    ``missing``: evidence that its basis asks for and that is not there (names of fields). ``contacted_at``: the last
    sign of the relation (a delivered message, a click, a purchase). ``entry``: its number in the account's ledger.
    """

    basis: Basis
    topics: frozenset[str]
    given_at: datetime
    confirmed_at: datetime | None
    entry: int
    missing: tuple[str, ...] = ()
    contacted_at: datetime | None = None
    revoked_at: datetime | None = None
    facts: dict[str, str] = field(default_factory=dict)

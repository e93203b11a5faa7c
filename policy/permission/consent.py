"""Consent: whether a person agreed to be mailed about a topic, on what basis, and whether that is still valid.

``judge`` answers for one topic. A consent does not count if it was revoked, if its evidence is incomplete, if the
profile
does not accept its basis, or if there was no contact for too long.

Invariants: silence is never consent; a consent counts only for the controller and topics it was given for; an older
consent never overrides a newer revocation.

Limitations: whether the evidence is true is for people to judge; here it only has to be present.
"""

from __future__ import annotations

import calendar
import re
from collections.abc import Iterable, Set
from dataclasses import field
from datetime import datetime
from enum import Enum

from mta.mail.values import dataclass

EVERY_TOPIC = "*"
_TOPIC = re.compile(r"[^\W_][\w.\-]{0,63}")  # starts with a letter or digit of any script


class Basis(Enum):
    """How the address came to the list. The first six may be allowed by a profile; the others never are, and are
    known so that the refusal can say why."""

    DOUBLE_OPT_IN = "double_opt_in"
    PURCHASE = "purchase"
    BUSINESS_CARD = "business_card"
    OFFLINE_FORM = "offline_form"
    CO_REGISTRATION = "co_registration"
    RELATION = "relation"  # a customer or business relation that was told of it, and could object
    BOUGHT = "bought"
    RENTED = "rented"
    COPIED = "copied"  # from the web or a register
    SINGLE_OPT_IN = "single_opt_in"
    VERBAL = "verbal"
    B2B = "b2b"  # a business, without permission
    THIRD_PARTY = "third_party"
    MEMBERSHIP = "membership"
    SOCIAL_NETWORK = "social_network"
    OBJECTION = "objection"  # no consent: a revocation without one, kept to outlive older consents that turn up later


USUAL = (Basis.DOUBLE_OPT_IN, Basis.PURCHASE, Basis.BUSINESS_CARD, Basis.OFFLINE_FORM, Basis.CO_REGISTRATION)
ACCEPTABLE = (*USUAL, Basis.RELATION)
SIMILAR_GOODS = frozenset({Basis.PURCHASE, Basis.RELATION})  # good for mail about the same kind of goods only

UNACCEPTABLE = {
    Basis.BOUGHT: "the address was bought, and a purchase passes no permission on",
    Basis.RENTED: "the address was rented, and its owner agreed to nothing here",
    Basis.COPIED: "the address was copied from the web or a register, not given by its owner",
    Basis.SINGLE_OPT_IN: "the address was entered but never confirmed (single opt-in), by whomever",
    Basis.VERBAL: "consent was only spoken, and cannot be shown; it must be written or digital",
    Basis.B2B: "a business must agree too: that it may be interested is no permission",
    Basis.THIRD_PARTY: "the consent was given to a third party and does not extend to others",
    Basis.MEMBERSHIP: "being a member of a club or union is no consent to advertising",
    Basis.SOCIAL_NETWORK: "a contact on a social network is no consent to mail",
    Basis.OBJECTION: "the person objected, and has agreed to nothing",
}


class TopicError(ValueError):
    """Why a text cannot name a topic."""


def parse_topic(text: str) -> str:
    """The canonical name of a topic, or ``*``. Raises TopicError."""
    name = text.strip().casefold()
    if name != EVERY_TOPIC and not _TOPIC.fullmatch(name):
        raise TopicError(f"{text[:70]!r} is no topic: 1 to 64 letters, digits, `.`, `_` and `-`, or `*` for every one")
    return name


class Sign(Enum):
    """A sign that the relation lives; a profile says which of them keep a consent from lapsing."""

    DELIVERED = "delivered"
    CLICK = "click"
    PURCHASE = "purchase"


_DELIVERED, _CLICK, _PURCHASE = Sign  # at hand: a look-up in the class is slow, and every recipient is judged


@dataclass(frozen=True, slots=True)
class Consent:
    """What a rule may know of one consent. ``topics``: lower-case names; ``*`` covers every topic.

    ``missing``: what its basis asks for and its evidence does not show (names of
    ``policy.permission.evidence.Requirement``).
    ``contacted_at``: the last message delivered to the address for the account; ``clicked_at``, ``bought_at``: its
    last click and purchase. ``entry``: its number in the account's ledger. ``facts``: the few pieces of evidence that
    rules ask for: ``source_host``, ``sponsors`` (one a line), ``category``, ``sender`` (whom the statement names, if
    that was none of the account's names).
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
    clicked_at: datetime | None = None
    bought_at: datetime | None = None

    @property
    def effective_at(self) -> datetime:
        """From when it holds: its confirmation, or the moment it was given."""
        return self.confirmed_at or self.given_at

    def covers(self, topic: str) -> bool:
        """A purchase or a relation is good for similar goods only, so it covers nothing that it does not name."""
        if topic in self.topics:
            return True
        return EVERY_TOPIC in self.topics and self.basis not in SIMILAR_GOODS


@dataclass(frozen=True, slots=True)
class Terms:
    """What a profile asks of a consent. ``lapse_months`` None: consent does not grow old. ``waived``: evidence that is
    not insisted on."""

    bases: Set[Basis] = frozenset(USUAL)
    lapse_months: int | None = 18
    renewed_by: Set[Sign] = frozenset(Sign)
    waived: Set[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Holds:
    """``until``: when it lapses if nothing more is heard; None: never."""

    consent: Consent
    until: datetime | None


@dataclass(frozen=True, slots=True)
class Lapsed:
    consent: Consent
    at: datetime


@dataclass(frozen=True, slots=True)
class Incomplete:
    consent: Consent
    missing: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Revoked:
    consent: Consent
    at: datetime


@dataclass(frozen=True, slots=True)
class Unacceptable:
    """Its basis is not one that the profile accepts."""

    consent: Consent


@dataclass(frozen=True, slots=True)
class OtherGoods:
    """It is good for one kind of goods, and the mailing is about another."""

    consent: Consent


@dataclass(frozen=True, slots=True)
class OffTopic:
    """``topics``: what was agreed to instead."""

    topics: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Absent:
    pass


Judgement = Holds | Lapsed | OtherGoods | Incomplete | Revoked | Unacceptable | OffTopic | Absent

_NEAREST = (Holds, Lapsed, OtherGoods, Incomplete, Revoked, Unacceptable)  # the first of these is the one to tell


def judge(
    consents: Iterable[Consent], topic: str | None, now: datetime, terms: Terms, category: str | None = None
) -> Judgement:
    """Whether one address may be mailed about ``topic``. None: the topic is not known yet, any consent will do.

    ``category``: the kind of goods that the mail is about; None: not known yet, or of no importance.
    Of several consents the one that holds counts; if none does, the one that came nearest is told.
    """
    known = tuple(consents)
    if not known:
        return Absent()
    judged = [
        _judge_one(each, known, topic, now, terms, category) for each in known if topic is None or each.covers(topic)
    ]
    if not judged:
        return OffTopic(tuple(sorted({name for each in known if each.revoked_at is None for name in each.topics})))
    return min(judged, key=lambda each: _NEAREST.index(type(each)))


def _judge_one(
    consent: Consent,
    known: tuple[Consent, ...],
    topic: str | None,
    now: datetime,
    terms: Terms,
    category: str | None,
) -> Holds | Lapsed | OtherGoods | Incomplete | Revoked | Unacceptable:
    if (revoked_at := _revoked_at(consent, known, topic)) is not None:
        return Revoked(consent, revoked_at)
    if consent.basis not in terms.bases:
        return Unacceptable(consent)
    if missing := tuple(name for name in consent.missing if name not in terms.waived):
        return Incomplete(consent, missing)
    if category is not None and consent.basis in SIMILAR_GOODS and not _is_same_goods(consent, category):
        return OtherGoods(consent)
    until = lapses_at(consent, terms)
    if until is not None and until <= now:
        return Lapsed(consent, until)
    return Holds(consent, until)


def _is_same_goods(consent: Consent, category: str) -> bool:
    return goods(consent.facts.get("category", "")) == goods(category)


def goods(category: str) -> str:
    """Return the name of a kind of goods as it is compared: "Running shoes" and "running  shoes" are one."""
    return " ".join(category.casefold().replace("-", " ").replace("_", " ").split())


def _revoked_at(consent: Consent, known: tuple[Consent, ...], topic: str | None) -> datetime | None:
    """The newest revocation that ends this consent for ``topic``: its own, that of the topic, or that of all topics."""
    reaching = [
        each.revoked_at
        for each in known
        if each.revoked_at is not None
        and each.revoked_at >= consent.effective_at
        and (each is consent or topic in each.topics or EVERY_TOPIC in each.topics)
    ]
    return max(reaching, default=None)


def lapses_at(consent: Consent, terms: Terms) -> datetime | None:
    """When the consent ends for want of contact: ``lapse_months`` after the last sign of the relation."""
    if terms.lapse_months is None:
        return None
    last = consent.effective_at
    for sign, at in ((_DELIVERED, consent.contacted_at), (_CLICK, consent.clicked_at), (_PURCHASE, consent.bought_at)):
        if at is not None and at > last and sign in terms.renewed_by:
            last = at
    return months_after(last, terms.lapse_months)


def months_after(at: datetime, months: int) -> datetime:
    """The same day and time so many calendar months later; the last of the month where there is no such day."""
    year, month = divmod(at.year * 12 + at.month - 1 + months, 12)
    day = at.day if at.day <= 28 else min(at.day, calendar.monthrange(year, month + 1)[1])
    return at.replace(year=year, month=month + 1, day=day)

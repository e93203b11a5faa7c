"""Evidence: what proves a consent, and what each basis requires.

Requirements are named by ``Requirement``: a profile may waive one, a rejection names the unmet ones, and
the dossier shows them as gaps.

Invariants: gaps are never filled: unrecorded data is missing, and "not known" is not "no".

Limitations: statements that do not name the sender ("selected partners") are recognised by their words, in five
languages
(``config/defaults/consent_phrases.toml``); determined wording can evade this.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from enum import Enum
from functools import lru_cache
from typing import Any, assert_never
from urllib.parse import urlsplit

from config.toml import DEFAULTS, read, read_text
from config.types import Section
from policy.permission.consent import Basis

MAX_SPONSORS = 10  # of a co-registration
PHRASES = DEFAULTS / "consent_phrases.toml"


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known of how a consent came about; empty or None where nothing is.

    ``statement``: the text that was agreed to, ``statement_version`` the owner's name for it, ``language`` a code such
    as ``nl``. ``preticked``: whether the box was ticked beforehand. ``sponsors``: all who were named. ``document``: the
    SHA-256 of the kept paper or file, hexadecimal. ``purchase``: the reference of an order, ``category`` what kind of
    goods it was. ``objection_offered``: whether the person could object when the address was collected. ``informed``:
    how the person was told, ``relation``: what binds the two, ``collector``: who collected it, if not the account.
    """

    source_url: str = ""
    ip: str = ""
    confirm_ip: str = ""
    statement: str = ""
    statement_version: str = ""
    language: str = ""
    preticked: bool | None = None
    sponsors: tuple[str, ...] = ()
    document: str = ""
    purchase: str = ""
    category: str = ""
    objection_offered: bool | None = None
    informed: str = ""
    relation: str = ""
    collector: str = ""


class Requirement(Enum):
    """One thing that a basis asks for."""

    SOURCE_URL = "source_url"
    IP = "ip"
    CONFIRMED_AT = "confirmed_at"
    STATEMENT = "statement"
    CLEAR_STATEMENT = "clear_statement"
    NOT_PRETICKED = "not_preticked"
    DOCUMENT = "document"
    PURCHASE = "purchase"
    CATEGORY = "category"
    OBJECTION_OFFERED = "objection_offered"
    SPONSORS = "sponsors"
    COLLECTOR = "collector"


NEEDED: Mapping[Requirement, str] = {
    Requirement.SOURCE_URL: "the page of the form, which is none of a social network (source_url)",
    Requirement.IP: "the IP address of the sign-up (ip)",
    Requirement.CONFIRMED_AT: "the time of the confirmation (confirmed_at)",
    Requirement.STATEMENT: "the text that was agreed to (statement)",
    Requirement.CLEAR_STATEMENT: "a text that names the sender, not unnamed partners or the general terms (statement)",
    Requirement.NOT_PRETICKED: "that the box was not ticked beforehand (preticked = no)",
    Requirement.DOCUMENT: "the SHA-256 of the kept document (document)",
    Requirement.PURCHASE: "the reference of the purchase (purchase)",
    Requirement.CATEGORY: "what kind of goods was bought (category)",
    Requirement.OBJECTION_OFFERED: "that an objection was offered at collection (objection_offered = yes)",
    Requirement.SPONSORS: f"the sponsors that were named, 1 to {MAX_SPONSORS} (sponsors)",
    Requirement.COLLECTOR: "who collected the address (collector)",
}

_FORM = (
    Requirement.SOURCE_URL,
    Requirement.IP,
    Requirement.CONFIRMED_AT,
    Requirement.STATEMENT,
    Requirement.CLEAR_STATEMENT,
    Requirement.NOT_PRETICKED,
)

REQUIRED: Mapping[Basis, tuple[Requirement, ...]] = {
    Basis.DOUBLE_OPT_IN: _FORM,
    Basis.PURCHASE: (
        Requirement.PURCHASE,
        Requirement.CATEGORY,
        Requirement.STATEMENT,
        Requirement.CLEAR_STATEMENT,
        Requirement.OBJECTION_OFFERED,
    ),
    Basis.BUSINESS_CARD: (Requirement.DOCUMENT,),
    Basis.OFFLINE_FORM: (Requirement.DOCUMENT, Requirement.STATEMENT, Requirement.CLEAR_STATEMENT),
    Basis.CO_REGISTRATION: (*_FORM, Requirement.SPONSORS),
    # Never enough by itself; a profile may take it if it is proved.
    Basis.THIRD_PARTY: (
        Requirement.COLLECTOR,
        Requirement.DOCUMENT,
        Requirement.STATEMENT,
        Requirement.CLEAR_STATEMENT,
    ),
}


class Assessor:
    """Tells what is missing. ``vague``: patterns of words that make a statement no consent. ``barred``: hosts, with
    all below them, that are no place for a form."""

    __slots__ = ("_barred", "_is_clear")

    def __init__(self, vague: Sequence[re.Pattern[str]], barred: Sequence[str] = ()) -> None:
        self._barred = tuple(barred)

        def is_clear(statement: str) -> bool:
            return not any(pattern.search(statement) for pattern in vague)

        self._is_clear = lru_cache(1024)(is_clear)  # a list of a million has a handful of statements

    def missing(self, basis: Basis, evidence: Evidence, confirmed_at: datetime | None) -> tuple[str, ...]:
        """Names of the requirements of ``basis`` that are not met, in order; none for a basis that asks nothing
        because it is never accepted."""
        return tuple(need.value for need in REQUIRED.get(basis, ()) if not self._is_met(need, evidence, confirmed_at))

    def _is_met(self, need: Requirement, evidence: Evidence, confirmed_at: datetime | None) -> bool:
        match need:
            case Requirement.SOURCE_URL:
                return self._is_place(source_host(evidence.source_url))
            case Requirement.IP:
                return bool(evidence.ip)
            case Requirement.CONFIRMED_AT:
                return confirmed_at is not None
            case Requirement.STATEMENT:
                return bool(evidence.statement)
            case Requirement.CLEAR_STATEMENT:
                return self._is_clear(evidence.statement)
            case Requirement.NOT_PRETICKED:
                return evidence.preticked is False
            case Requirement.DOCUMENT:
                return bool(evidence.document)
            case Requirement.PURCHASE:
                return bool(evidence.purchase)
            case Requirement.CATEGORY:
                return bool(evidence.category)
            case Requirement.OBJECTION_OFFERED:
                return evidence.objection_offered is True
            case Requirement.SPONSORS:
                return 0 < len(evidence.sponsors) <= MAX_SPONSORS
            case Requirement.COLLECTOR:
                return bool(evidence.collector)
            case _:
                assert_never(need)

    def _is_place(self, host: str) -> bool:
        return bool(host) and not any(host == barred or host.endswith("." + barred) for barred in self._barred)


def evidence_of(said: Mapping[str, Any]) -> Evidence:
    """What an entry of the ledger recorded; other keys are none of the evidence's."""
    kept = {field.name: said[field.name] for field in fields(Evidence) if field.name in said}
    if "sponsors" in kept:
        kept["sponsors"] = tuple(kept["sponsors"])
    return Evidence(**kept)


def facts_of(evidence: Evidence) -> dict[str, str]:
    """What rules may ask of the evidence itself, for ``Consent.facts``; short, for there are millions."""
    facts = {
        "source_host": source_host(evidence.source_url),
        "sponsors": "\n".join(evidence.sponsors),
        "category": evidence.category,
    }
    return {name: value for name, value in facts.items() if value}


@lru_cache(1024)
def source_host(url: str) -> str:
    """The host of an ``http`` or ``https`` URL in lower case; empty if it is none."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        return ""
    return host if parts.scheme in ("http", "https") else ""


class _Phrases(Section):
    """``config/defaults/consent_phrases.toml``."""

    social_networks: list[str]
    vague: dict[str, list[str]]


def load_assessor() -> Assessor:
    """With the words that ship with the service. Raises ConfigError."""
    shipped = read(read_text(PHRASES), PHRASES.name, _Phrases, lambda _: ())
    phrases = [phrase for listed in shipped.vague.values() for phrase in listed]
    vague = [re.compile(rf"\b{re.escape(phrase)}\b", re.IGNORECASE) for phrase in phrases]
    return Assessor(vague, shipped.social_networks)

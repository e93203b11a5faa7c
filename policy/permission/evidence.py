"""Evidence: what proves a consent, and what each basis requires.

Requirements are named by ``Requirement``: a profile may waive one, a rejection names the unmet ones, and
the dossier shows them as gaps.

Invariants: gaps are never filled: unrecorded data is missing, and "not known" is not "no".

Limitations: what a statement says is read by a grammar of five languages (``policy.permission.statement``); determined
wording can evade it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from enum import Enum
from functools import lru_cache
from typing import Any, assert_never
from urllib.parse import urlsplit

from policy.permission.consent import Basis
from policy.permission.statement import Sender, Statement, StatementGrammar
from policy.wordlists import shipped

MAX_SPONSORS = 10  # of a co-registration


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
    STATEMENT_MAIL = "statement_mail"
    STATEMENT_SENDER = "statement_sender"
    STATEMENT_SUBJECT = "statement_subject"
    NOT_PRETICKED = "not_preticked"
    DOCUMENT = "document"
    PURCHASE = "purchase"
    CATEGORY = "category"
    OBJECTION_OFFERED = "objection_offered"
    SPONSORS = "sponsors"
    COLLECTOR = "collector"
    RELATION = "relation"
    INFORMED = "informed"


NEEDED: Mapping[Requirement, str] = {
    Requirement.SOURCE_URL: "the page of the form, which is none of a social network (source_url)",
    Requirement.IP: "the IP address of the sign-up (ip)",
    Requirement.CONFIRMED_AT: "the time of the confirmation (confirmed_at)",
    Requirement.STATEMENT: "the text that was agreed to (statement)",
    Requirement.STATEMENT_MAIL: "a text that says that mail comes, not only that terms are accepted (statement)",
    Requirement.STATEMENT_SENDER: "a text that says from whom, not from partners or third parties (statement)",
    Requirement.STATEMENT_SUBJECT: "a text that says what the mail is about (statement)",
    Requirement.NOT_PRETICKED: "that the box was not ticked beforehand (preticked = no)",
    Requirement.DOCUMENT: "the SHA-256 of the kept document (document)",
    Requirement.PURCHASE: "the reference of the purchase (purchase)",
    Requirement.CATEGORY: "what kind of goods was bought (category)",
    Requirement.OBJECTION_OFFERED: "that an objection was offered at collection (objection_offered = yes)",
    Requirement.SPONSORS: f"the sponsors that were named, 1 to {MAX_SPONSORS} (sponsors)",
    Requirement.COLLECTOR: "who collected the address (collector)",
    Requirement.RELATION: "what the relation is (relation)",
    Requirement.INFORMED: "how the person was told of the mail (informed)",
}

_STATEMENT = (
    Requirement.STATEMENT,
    Requirement.STATEMENT_MAIL,
    Requirement.STATEMENT_SENDER,
    Requirement.STATEMENT_SUBJECT,
)
_FORM = (
    Requirement.SOURCE_URL,
    Requirement.IP,
    Requirement.CONFIRMED_AT,
    *_STATEMENT,
    Requirement.NOT_PRETICKED,
)

REQUIRED: Mapping[Basis, tuple[Requirement, ...]] = {
    Basis.DOUBLE_OPT_IN: _FORM,
    Basis.PURCHASE: (
        Requirement.PURCHASE,
        Requirement.CATEGORY,
        *_STATEMENT,
        Requirement.OBJECTION_OFFERED,
    ),
    Basis.BUSINESS_CARD: (Requirement.DOCUMENT,),
    Basis.OFFLINE_FORM: (Requirement.DOCUMENT, *_STATEMENT),
    Basis.CO_REGISTRATION: (*_FORM, Requirement.SPONSORS),
    Basis.RELATION: (
        Requirement.RELATION,
        Requirement.CATEGORY,
        Requirement.INFORMED,
        Requirement.OBJECTION_OFFERED,
    ),
    # Never enough by itself; a profile may take it if it is proved.
    Basis.THIRD_PARTY: (Requirement.COLLECTOR, Requirement.DOCUMENT, *_STATEMENT),
}

_OF_SEVERAL = frozenset({Basis.CO_REGISTRATION, Basis.THIRD_PARTY})  # where "we" may be anyone


class Assessor:
    """Tells what is missing. ``barred``: hosts, with all below them, that are no place for a form."""

    __slots__ = ("_barred", "_read")

    def __init__(self, grammar: StatementGrammar, barred: Sequence[str] = ()) -> None:
        self._barred = tuple(barred)
        self._read = lru_cache(1024)(grammar.read)  # a list of a million has a handful of statements

    def statement(self, evidence: Evidence, names: Collection[str] = ()) -> Statement:
        """Return what the statement says. ``names``: of the account, its domains included."""
        return self._read(evidence.statement, evidence.language, frozenset(names))

    def missing(
        self, basis: Basis, evidence: Evidence, confirmed_at: datetime | None, names: Collection[str] = ()
    ) -> tuple[str, ...]:
        """Names of the requirements of ``basis`` that are not met, in order; none for a basis that asks nothing
        because it is never accepted. ``names``: as above."""
        needs = REQUIRED.get(basis, ())
        said = self.statement(evidence, names) if Requirement.STATEMENT in needs and evidence.statement else None
        return tuple(need.value for need in needs if not self._is_met(need, basis, evidence, confirmed_at, said))

    def _is_met(
        self,
        need: Requirement,
        basis: Basis,
        evidence: Evidence,
        confirmed_at: datetime | None,
        said: Statement | None,
    ) -> bool:
        match need:
            case Requirement.SOURCE_URL:
                return self._is_place(source_host(evidence.source_url))
            case Requirement.IP:
                return bool(evidence.ip)
            case Requirement.CONFIRMED_AT:
                return confirmed_at is not None
            case Requirement.STATEMENT:
                return bool(evidence.statement)
            case Requirement.STATEMENT_MAIL:
                return said is None or said.mail
            case Requirement.STATEMENT_SENDER:
                return said is None or _names_sender(said, basis)
            case Requirement.STATEMENT_SUBJECT:
                return said is None or said.subject
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
            case Requirement.RELATION:
                return bool(evidence.relation)
            case Requirement.INFORMED:
                return bool(evidence.informed)
            case _:
                assert_never(need)

    def _is_place(self, host: str) -> bool:
        return bool(host) and not any(host == barred or host.endswith("." + barred) for barred in self._barred)


def _names_sender(said: Statement, basis: Basis) -> bool:
    return said.sender is not Sender.NONE and (said.sender is not Sender.SELF or basis not in _OF_SEVERAL)


def evidence_of(said: Mapping[str, Any]) -> Evidence:
    """What an entry of the ledger recorded; other keys are none of the evidence's."""
    kept = {field.name: said[field.name] for field in fields(Evidence) if field.name in said}
    if "sponsors" in kept:
        kept["sponsors"] = tuple(kept["sponsors"])
    return Evidence(**kept)


def facts_of(evidence: Evidence, sender: str = "") -> dict[str, str]:
    """What rules may ask of the evidence itself, for ``Consent.facts``; short, for there are millions. ``sender``: whom
    the statement names, if that is none of the account's names."""
    facts = {
        "source_host": source_host(evidence.source_url),
        "sponsors": "\n".join(evidence.sponsors),
        "category": evidence.category,
        "sender": sender,
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


def load_assessor() -> Assessor:
    """With the words that ship with the service. Raises ConfigError."""
    return Assessor(StatementGrammar.shipped(), shipped("social_networks")["hosts"])

"""The fields of a consent as people write them: read into what the ledger takes, or refused with the reason.

One table of names serves CSV columns, JSON keys and ``mta consent add NAME=VALUE``.

Invariants: nothing is guessed: a time without a zone, an unclear yes, an address with something around it are mistakes.

Limitations: a date without a time is its first moment; without a zone given on the command line, in UTC.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from functools import lru_cache
from typing import TYPE_CHECKING

from mta.admin.files.table_file import text_fault
from mta.mail.address import Address, AddressError
from policy.permission.consent import SIMILAR_GOODS, Basis, TopicError, parse_topic
from policy.permission.evidence import Evidence

if TYPE_CHECKING:
    from mta.store.permission.ledger import Given

MAX_TEXT = 10_000  # characters of one field
MAX_LIST = 100  # topics or sponsors of one consent
SLACK = timedelta(days=1)  # how far clocks may differ before a time is in the future

COLUMNS = {
    "address": "ann@example.com",
    "topics": "names of topics, separated by | or spaces; * for every topic",
    "basis": ", ".join(basis.value for basis in Basis if basis is not Basis.OBJECTION),
    "given_at": "when: 2026-03-01T12:00:00Z",
    "confirmed_at": "when it was confirmed (double opt-in)",
    "revoked_at": "when it was revoked, if it was",
    "source_url": "page of the form",
    "ip": "IP address of the sign-up",
    "confirm_ip": "IP address of the confirmation",
    "statement": "the text that was agreed to",
    "statement_version": "its version",
    "language": "its language: nl, de, fr, es, en ...",
    "preticked": "whether the box was ticked beforehand: yes or no",
    "sponsors": "all sponsors that were named, separated by |",
    "document": "SHA-256 of the kept document, 64 hexadecimal digits",
    "purchase": "reference of the purchase",
    "category": "kind of goods that were bought, or that the relation is about",
    "objection_offered": "whether an objection was offered at collection: yes or no",
    "informed": "how the person was informed",
    "relation": "nature of the relation",
    "collector": "who collected it, if not the account",
}
REQUIRED = ("address", "basis", "given_at")

_YES = frozenset({"yes", "true", "1", "y", "ja", "oui", "si", "sí"})
_NO = frozenset({"no", "false", "0", "n", "nee", "nein", "non"})
_BASES = {basis.value: basis for basis in Basis if basis is not Basis.OBJECTION}
_SHA256 = re.compile(r"[0-9a-fA-F]{64}")
_LANGUAGE = re.compile(r"[A-Za-z]{2,3}(?:[-_][A-Za-z0-9]{2,8})*")
_OCTET = "(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
_IPV4 = re.compile(rf"{_OCTET}(?:\.{_OCTET}){{3}}")


class FieldError(ValueError):
    """What is wrong with a field, with its name and how to fix it."""


@dataclass(frozen=True, slots=True)
class ImportDefaults:
    """Values for what a record leaves out. ``now``: later times are in the future."""

    now: datetime
    zone: tzinfo | None = None
    topics: str = ""
    basis: str = ""


def read(fields: Mapping[str, str], defaults: ImportDefaults) -> Given:
    """Return a consent from texts by the names in ``COLUMNS``. Raises FieldError."""
    from mta.store.permission.ledger import Given  # noqa: PLC0415 - commands take only names from this module

    said = {name: text.strip() for name, text in fields.items()}
    together = " ".join(said.values())
    if len(together) > MAX_TEXT or not (together.isascii() and together.isprintable()):  # seldom, so worth a look
        for name, text in said.items():
            _check(name, text)
    get = said.get
    basis = _basis(get("basis") or defaults.basis)
    topics = _topics(get("topics") or defaults.topics or (get("category", "") if basis in SIMILAR_GOODS else ""))
    given_at, confirmed_at = _time("given_at", said, defaults), _time("confirmed_at", said, defaults)
    revoked_at = _time("revoked_at", said, defaults)
    if given_at is None:
        raise FieldError("given_at: is missing; when was consent given?")
    if confirmed_at and confirmed_at < given_at:
        raise FieldError("confirmed_at: is before given_at")
    if revoked_at and revoked_at < (confirmed_at or given_at):
        raise FieldError("revoked_at: is before the consent")
    return Given(_address(get("address", "")), topics, basis, given_at, confirmed_at, _evidence(said), revoked_at)


def _evidence(said: Mapping[str, str]) -> Evidence:
    get = said.get
    document, language = get("document", ""), get("language", "")
    if document and not _SHA256.fullmatch(document):
        raise FieldError("document: is not a SHA-256 of 64 hexadecimal digits (sha256sum FILE)")
    if language and not _LANGUAGE.fullmatch(language):
        raise FieldError(f"language: {language[:20]!r} is not a code such as nl, de, fr, es or en")
    return Evidence(
        source_url=get("source_url", ""),
        ip=_ip("ip", get("ip", "")),
        confirm_ip=_ip("confirm_ip", get("confirm_ip", "")),
        statement=get("statement", ""),
        statement_version=get("statement_version", ""),
        language=language.lower(),
        preticked=_yes_no("preticked", get("preticked", "")),
        sponsors=_names(get("sponsors", "")),
        document=document.lower(),
        purchase=get("purchase", ""),
        category=get("category", ""),
        objection_offered=_yes_no("objection_offered", get("objection_offered", "")),
        informed=get("informed", ""),
        relation=get("relation", ""),
        collector=get("collector", ""),
    )


def _check(name: str, text: str) -> None:
    if len(text) > MAX_TEXT:
        raise FieldError(f"{name}: has {len(text)} characters; the limit is {MAX_TEXT}")
    if fault := text_fault(text):
        raise FieldError(f"{name}: {fault}")


def _address(text: str) -> Address:
    try:
        return Address.parse(text)
    except AddressError as error:
        raise FieldError(f"address: {text[:80]!r}: {error}") from None


def _basis(text: str) -> Basis:
    basis = _BASES.get(text) or _BASES.get(text.lower().replace("-", "_").replace(" ", "_"))
    if basis is None:
        raise FieldError(f"basis: {text[:40]!r} is not one of: {', '.join(_BASES)}")
    return basis


@lru_cache(1024)
def _topics(text: str) -> tuple[str, ...]:
    try:
        names = tuple(dict.fromkeys(parse_topic(name) for name in re.split(r"[|,;\s]+", text) if name))
    except TopicError as error:
        raise FieldError(f"topics: {error}") from None
    if not names:
        raise FieldError("topics: is missing; name the topics, or * for every topic")
    if len(names) > MAX_LIST:
        raise FieldError(f"topics: {len(names)} given; the limit is {MAX_LIST}")
    return names


@lru_cache(1024)
def _names(text: str) -> tuple[str, ...]:
    names = tuple(name for each in text.split("|") if (name := " ".join(each.split())))
    if len(names) > MAX_LIST:
        raise FieldError(f"sponsors: {len(names)} given; at most {MAX_LIST} are kept (10 are allowed)")
    return names


def _time(name: str, said: Mapping[str, str], defaults: ImportDefaults) -> datetime | None:
    text = said.get(name)
    if not text:
        return None
    at = parse_time(name, text, defaults.zone)
    if at > defaults.now + SLACK:
        raise FieldError(f"{name}: {text[:40]} is in the future")
    return at


def parse_time(name: str, text: str, zone: tzinfo | None) -> datetime:
    """ISO 8601. ``zone``: of times that name none. Raises FieldError."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise FieldError(f"{name}: {text[:40]!r} is not a time such as 2026-03-01T12:00:00Z") from None
    if at.tzinfo is None:
        if zone is None and len(text) > len("2026-03-01"):
            raise FieldError(f"{name}: {text[:40]!r} has no zone: write 2026-03-01T12:00:00Z, or use --zone")
        at = at.replace(tzinfo=zone or UTC)
    try:
        return at.astimezone(UTC)
    except OverflowError:
        raise FieldError(f"{name}: {text[:40]!r} is out of range") from None


def _ip(name: str, text: str) -> str:
    if not text or _IPV4.fullmatch(text):
        return text
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        raise FieldError(f"{name}: {text[:50]!r} is not an IP address") from None


def _yes_no(name: str, text: str) -> bool | None:
    if not text:
        return None
    word = text.lower()
    if word in _YES:
        return True
    if word in _NO:
        return False
    raise FieldError(f"{name}: {text[:20]!r} is neither yes nor no; leave it empty if unknown")

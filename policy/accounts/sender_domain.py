"""Sender domains: does a domain belong to the account, and is it fit to send from?

A domain is proved by a TXT record with a token of ours. It also needs SPF, DKIM and DMARC, which receivers have
required of bulk senders since 2024, and should accept mail, because people reply.

Invariants: a DNS failure never counts as an answer, in either direction.

Limitations: SPF is parsed, not evaluated: whether it passes our addresses depends on included records, which are not
followed. A mail exchanger counts as accepting mail if it has an address; no connection is made.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

_SPF_TERM = re.compile(
    r"[+\-~?]?(all|include:\S+|a([:/]\S+)?|mx([:/]\S+)?|ptr(:\S+)?|ip4:\S+|ip6:\S+|exists:\S+)\Z|[a-z][a-z0-9_.-]*=\S*\Z",
    re.IGNORECASE,
)
_SPF_LOOKUP = re.compile(r"[+\-~?]?(include:|a([:/]|\Z)|mx([:/]|\Z)|ptr|exists:)|redirect=", re.IGNORECASE)
_SPF_LOOKUPS = 10  # RFC 7208 4.6.4
_DMARC_POLICIES = ("none", "quarantine", "reject")


class DomainCheck(Enum):
    """What is looked at."""

    OWNER = "owner"
    SPF = "spf"
    DKIM = "dkim"
    DMARC = "dmarc"
    MX = "mx"


class CheckMark(Enum):
    """``WEAK``: usable, but should be fixed. ``UNKNOWN``: the DNS could not be asked."""

    GOOD = "good"
    WEAK = "weak"
    BAD = "bad"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class CheckResult:
    """``text``: what was found and, unless good, how to fix it."""

    subject: DomainCheck
    mark: CheckMark
    text: str


@dataclass(frozen=True, slots=True)
class DomainProblem:
    """The DNS could not be asked; ``why``."""

    why: str


Texts = Sequence[str] | DomainProblem  # the TXT records of a name


@dataclass(frozen=True, slots=True)
class Selector:
    """One of our keys that signs for the domain. ``differences``: what keeps signatures from verifying."""

    name: str
    differences: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class DomainRecords:
    """What the DNS says. ``dmarc``: the place and records of the nearest policy (RFC 7489 6.6.3). ``selectors``: our
    keys. ``deaf``: why it accepts no mail, None if it does."""

    owner: Texts
    spf: Texts
    selectors: tuple[Selector, ...] | DomainProblem
    dmarc: tuple[str, Texts]
    deaf: str | DomainProblem | None


def owner_name(domain: str) -> str:
    """Where the proof is to be published."""
    return f"_imprimatur.{domain}"


def owner_text(token: str) -> str:
    """What the proof says."""
    return f"imprimatur-verification={token}"


def judge(domain: str, token: str, evidence: DomainRecords) -> tuple[CheckResult, ...]:
    """One judgement for each subject."""
    return (
        _owner(domain, token, evidence.owner),
        _spf(domain, evidence.spf),
        _dkim(domain, evidence.selectors),
        _dmarc(domain, *evidence.dmarc),
        _mx(domain, evidence.deaf),
    )


def is_fit(judged: Sequence[CheckResult], *, proved: bool = False) -> bool:
    """Whether the domain may be used; ``proved``: whose it is was settled before. Being unable to receive does not
    keep it from that: rules weigh it."""
    aside = {DomainCheck.MX, DomainCheck.OWNER} if proved else {DomainCheck.MX}
    return all(each.mark in (CheckMark.GOOD, CheckMark.WEAK) for each in judged if each.subject not in aside)


def receives(judged: Sequence[CheckResult]) -> bool | None:
    """Return whether the domain accepts mail; None if unknown."""
    marks = [each.mark for each in judged if each.subject is DomainCheck.MX]
    return None if CheckMark.UNKNOWN in marks else CheckMark.BAD not in marks


def _owner(domain: str, token: str, found: Texts) -> CheckResult:
    publish = f'publish: {owner_name(domain)}. IN TXT "{owner_text(token)}"'
    if isinstance(found, DomainProblem):
        return CheckResult(DomainCheck.OWNER, CheckMark.UNKNOWN, found.why)
    if owner_text(token) in (text.strip() for text in found):
        return CheckResult(DomainCheck.OWNER, CheckMark.GOOD, f"{owner_name(domain)} has the token")
    said = "has another token" if found else "has no TXT record"
    return CheckResult(DomainCheck.OWNER, CheckMark.BAD, f"{owner_name(domain)} {said}; {publish}")


def _spf(domain: str, found: Texts) -> CheckResult:
    """RFC 7208: one record, terms that are known, at most ten that cost a look-up."""
    if isinstance(found, DomainProblem):
        return CheckResult(DomainCheck.SPF, CheckMark.UNKNOWN, found.why)
    records = [text for text in found if text.lower() == "v=spf1" or text.lower().startswith("v=spf1 ")]
    if not records:
        return _bad(
            DomainCheck.SPF, f'{domain} has no SPF record; publish one, such as "v=spf1 mx -all", with our addresses'
        )
    if len(records) > 1:
        return _bad(
            DomainCheck.SPF, f"{domain} has {len(records)} SPF records, so none counts (RFC 7208 4.5); keep one"
        )
    terms = records[0].split()[1:]
    if odd := [term for term in terms if not _SPF_TERM.match(term)]:
        return _bad(DomainCheck.SPF, f"the SPF record of {domain} has the unknown term {odd[0][:60]!r}; correct it")
    if sum(bool(_SPF_LOOKUP.match(term)) for term in terms) > _SPF_LOOKUPS:
        return _bad(
            DomainCheck.SPF, f"the SPF record of {domain} asks for more than {_SPF_LOOKUPS} look-ups; shorten it"
        )
    if any(term.lower() in ("all", "+all") for term in terms):
        return _bad(DomainCheck.SPF, f"the SPF record of {domain} lets everybody pass (+all); end it with -all or ~all")
    if not any(term.lower() in ("-all", "~all") or term.lower().startswith("redirect=") for term in terms):
        return CheckResult(
            DomainCheck.SPF, CheckMark.WEAK, f"{records[0]}: nothing is said of others; end it with -all or ~all"
        )
    return CheckResult(DomainCheck.SPF, CheckMark.GOOD, records[0])


def _dkim(domain: str, found: tuple[Selector, ...] | DomainProblem) -> CheckResult:
    if isinstance(found, DomainProblem):
        return CheckResult(DomainCheck.DKIM, CheckMark.UNKNOWN, found.why)
    if not found:
        return _bad(DomainCheck.DKIM, f"none of our keys signs for {domain}; make one with `mta dkim new {domain}`")
    broken = [f"{each.name}: {'; '.join(each.differences)}" for each in found if each.differences]
    if broken:
        return _bad(DomainCheck.DKIM, " / ".join(broken))
    return CheckResult(DomainCheck.DKIM, CheckMark.GOOD, f"signed with {', '.join(each.name for each in found)}")


def _dmarc(domain: str, place: str, found: Texts) -> CheckResult:
    """RFC 7489 6.3: one record with a policy."""
    if isinstance(found, DomainProblem):
        return CheckResult(DomainCheck.DMARC, CheckMark.UNKNOWN, found.why)
    records = [text for text in found if re.match(r"v\s*=\s*DMARC1\s*(;|\Z)", text)]
    if not records:
        example = f'_dmarc.{domain}. IN TXT "v=DMARC1; p=none; rua=mailto:dmarc@{domain}"'
        return _bad(DomainCheck.DMARC, f"{domain} has no DMARC record; publish one, for example: {example}")
    if len(records) > 1:
        return _bad(DomainCheck.DMARC, f"{place} has {len(records)} DMARC records, so none counts; keep one")
    policy = re.search(r";\s*p\s*=\s*([^;\s]*)", records[0])
    if policy is None or policy[1].lower() not in _DMARC_POLICIES:
        return _bad(DomainCheck.DMARC, f"{place} says nothing like p=none, p=quarantine or p=reject; add that")
    return CheckResult(DomainCheck.DMARC, CheckMark.GOOD, f"{place}: {records[0][:200]}")


def _mx(domain: str, deaf: str | DomainProblem | None) -> CheckResult:
    match deaf:
        case None:
            return CheckResult(DomainCheck.MX, CheckMark.GOOD, f"{domain} takes mail")
        case DomainProblem(why):
            return CheckResult(DomainCheck.MX, CheckMark.UNKNOWN, why)
        case _:
            return _bad(DomainCheck.MX, f"replies would bounce: {deaf}; publish an MX record whose host accepts mail")


def _bad(subject: DomainCheck, text: str) -> CheckResult:
    return CheckResult(subject, CheckMark.BAD, text)

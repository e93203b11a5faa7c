"""Sender domains: does a domain belong to the account, and is it fit to send from?

A domain is proved by a TXT record with a token of ours. It also needs SPF, DKIM and DMARC, which receivers have
required of bulk senders since 2024, and should accept mail, because people reply.

Invariants: a DNS failure never counts as an answer, in either direction.

Limitations: whether SPF passes our addresses is not evaluated; included records are read, and count as look-ups, but
look-ups without an answer (RFC 7208 4.6.4, "void") are not counted. A mail exchanger counts as accepting mail if it has
an address; no connection is made.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum

from policy.accounts import dmarc, spf


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
    """One of our keys that signs for the domain. ``name``: of its record. ``differences``: what keeps signatures from
    verifying. ``weakness``: what should be mended although they verify, or nothing."""

    name: str
    differences: tuple[str, ...]
    weakness: str = ""

    @property
    def signer(self) -> str:
        """The domain that signs (``d=``)."""
        return self.name.partition("._domainkey.")[2]


@dataclass(frozen=True, slots=True)
class DomainRecords:
    """What the DNS says. ``dmarc``: the place and records of the nearest policy (RFC 7489 6.6.3). ``selectors``: our
    keys. ``deaf``: why it accepts no mail, None if it does.

    ``included``: the TXT records of what SPF includes, by name, as far as it was looked up. ``consents``: those that
    allow DMARC reports to domains outside (RFC 7489 7.1), by domain. ``return_path``: the domain of our envelope
    senders, None if they are the sender's own.
    """

    owner: Texts
    spf: Texts
    selectors: tuple[Selector, ...] | DomainProblem
    dmarc: tuple[str, Texts]
    deaf: str | DomainProblem | None
    included: Mapping[str, Texts] = field(default_factory=dict)
    consents: Mapping[str, Texts] = field(default_factory=dict)
    return_path: str | None = None


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
        _spf(domain, evidence.spf, evidence.included),
        _dkim(domain, evidence.selectors),
        _dmarc(domain, evidence),
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


def _spf(domain: str, found: Texts, included: Mapping[str, Texts]) -> CheckResult:
    """RFC 7208: one record that receivers can read, and that says what was meant."""
    if isinstance(found, DomainProblem):
        return CheckResult(DomainCheck.SPF, CheckMark.UNKNOWN, found.why)
    records, missed = [text for text in found if spf.is_record(text)], spf.missed(found)
    if not records and missed:
        return _bad(DomainCheck.SPF, f"{domain} has no SPF record that receivers see: {missed}; correct it")
    if not records:
        return _bad(
            DomainCheck.SPF, f'{domain} has no SPF record; publish one, such as "v=spf1 mx -all", with our addresses'
        )
    if len(records) > 1:
        return _bad(
            DomainCheck.SPF, f"{domain} has {len(records)} SPF records, so none counts (RFC 7208 4.5); keep one"
        )
    record = spf.read(records[0], domain)
    errors = record.errors or list(_included(domain, record, included))
    if errors:
        return _bad(DomainCheck.SPF, f"the SPF record of {domain}: {'; '.join(errors)}")
    doubts = [*record.doubts, *([f"another record is passed over: {missed}"] if missed else [])]
    if doubts:
        return CheckResult(DomainCheck.SPF, CheckMark.WEAK, f"{records[0]}: {'; '.join(doubts)}")
    return CheckResult(DomainCheck.SPF, CheckMark.GOOD, records[0])


def _included(domain: str, record: spf.Spf, included: Mapping[str, Texts]) -> Iterator[str]:
    """Yield what is wrong with the records that ``record`` includes: a permerror of the whole (RFC 7208 5.2)."""
    read: dict[str, spf.Spf] = {}
    for name, texts in included.items():
        if isinstance(texts, DomainProblem):
            continue
        records = [text for text in texts if spf.is_record(text)]
        if len(records) != 1:
            yield f"{name}, which it includes, has {len(records) or 'no'} SPF record{'s' if records else ''}"
            continue
        read[name] = spf.read(records[0], name)
        if read[name].errors:
            yield f"{name}, which it includes: {read[name].errors[0]}"
    if (count := spf.count_lookups(record, read)) > spf.MAX_LOOKUPS:
        yield (
            f"with what it includes it asks for {count} look-ups, more than {spf.MAX_LOOKUPS}, so that {domain} has "
            "no SPF (RFC 7208 4.6.4); shorten it"
        )


def _dkim(domain: str, found: tuple[Selector, ...] | DomainProblem) -> CheckResult:
    if isinstance(found, DomainProblem):
        return CheckResult(DomainCheck.DKIM, CheckMark.UNKNOWN, found.why)
    if not found:
        return _bad(DomainCheck.DKIM, f"none of our keys signs for {domain}; make one with `mta dkim new {domain}`")
    broken = [f"{each.name}: {'; '.join(each.differences)}" for each in found if each.differences]
    if broken:
        return _bad(DomainCheck.DKIM, " / ".join(broken))
    if weak := [f"{each.name}: {each.weakness}" for each in found if each.weakness]:
        return CheckResult(DomainCheck.DKIM, CheckMark.WEAK, " / ".join(weak))
    return CheckResult(DomainCheck.DKIM, CheckMark.GOOD, f"signed with {', '.join(each.name for each in found)}")


def _dmarc(domain: str, evidence: DomainRecords) -> CheckResult:
    """RFC 7489: one record that receivers can read, and with which our mail is aligned."""
    place, found = evidence.dmarc
    if isinstance(found, DomainProblem):
        return CheckResult(DomainCheck.DMARC, CheckMark.UNKNOWN, found.why)
    records = [text for text in found if dmarc.is_record(text)]
    if not records and (missed := dmarc.missed(found)):
        return _bad(DomainCheck.DMARC, f"{place} has no DMARC record that receivers see: {missed}; correct it")
    if not records:
        example = f'_dmarc.{domain}. IN TXT "v=DMARC1; p=none; rua=mailto:dmarc@{domain}"'
        return _bad(DomainCheck.DMARC, f"{domain} has no DMARC record; publish one, for example: {example}")
    if len(records) > 1:
        return _bad(DomainCheck.DMARC, f"{place} has {len(records)} DMARC records, so none counts; keep one")
    record = dmarc.read(records[0])
    if record.errors:
        return _bad(DomainCheck.DMARC, f"{place}: {'; '.join(record.errors)}")
    signers = () if isinstance(evidence.selectors, DomainProblem) else tuple(each.signer for each in evidence.selectors)
    if why := dmarc.misaligned(record, domain, signers, evidence.return_path):
        policy = record.policy if place == f"_dmarc.{domain}" else record.subdomain_policy
        return _bad(DomainCheck.DMARC, f"{place}: our mail fails DMARC (policy {policy}): {why}")
    doubts = [*record.doubts, *_unwanted_reports(place, record, evidence.consents)]
    if doubts:
        return CheckResult(DomainCheck.DMARC, CheckMark.WEAK, f"{place}: {'; '.join(doubts)}")
    return CheckResult(DomainCheck.DMARC, CheckMark.GOOD, f"{place}: {records[0][:200]}")


def _unwanted_reports(place: str, record: dmarc.Dmarc, consents: Mapping[str, Texts]) -> Iterator[str]:
    """Yield the report addresses whose domains do not say that they take them."""
    for host in record.reports_to:
        consent = consents.get(host)
        if consent is not None and not isinstance(consent, DomainProblem) and not any(map(dmarc.is_record, consent)):
            name = consent_name(place, host)
            yield f'{host} does not accept these reports; it has to publish: {name}. IN TXT "v=DMARC1"'


def consent_name(place: str, host: str) -> str:
    """Return where ``host`` says that it takes reports for the record at ``place`` (RFC 7489 7.1)."""
    return f"{place.removeprefix('_dmarc.')}._report._dmarc.{host}"


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

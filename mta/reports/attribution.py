"""Parse an inbound report and find out which message, account and recipient it is about.

Tokens and return paths are signed: wherever they are found, only this installation can have made them. An id in a
Received field is only a hint, to be checked against what a token says.

Invariants: Nothing is attributed without a valid token or return path.

Limitations: Anyone who received a message has its token and can pass it on.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from bounce.abuse_mail import AbuseMail, AbuseMailKind, AbuseMailReader
from bounce.classify import Classifier
from bounce.parsers.report_kinds import Original, Report, ReportKind
from bounce.report import read
from bounce.suppression import SoftBounceThresholds
from bounce.verp import PREFIX, InvalidReturnPath, ReturnPath, Verp
from mta.mail.address import Address, AddressError
from mta.mail.identity import MessageId, parse_id
from mta.reports.mailboxes import ReportMailbox, mailbox_of
from mta.store.results.report_actions import FactsQuery, InboundReport, ReportFacts
from policy.accounts.account import Account
from policy.permission.tokens import Claim, Tokens
from policy.reputation.case_replies import CaseReplies
from policy.reputation.complaint import Source

MAX_OCTETS = 1 << 20  # of a report that are searched for return paths
MAX_CANDIDATES = 20  # of each kind that are tried
MAX_IDS = 3  # message ids that are looked up

_PATH = re.compile(rb"(?i)" + re.escape(PREFIX.encode()) + rb"([0-9a-z]{47})@([a-z0-9.-]{1,253})")
_TOKEN = re.compile(rb"[A-Za-z0-9_-]{40,1000}")
_MESSAGE_ID = re.compile(r"\bid ([0-9a-hjkmnp-tv-z]{26})\b")


@dataclass(frozen=True, slots=True)
class ReportContext:
    """What processing depends on besides the report. ``postmaster``: where mail for people is forwarded;
    ``trusted_reporters``: domains believed without a signature; ``replies``: reads the addresses of letters about
    cases; ``own_domains``: that the service itself writes from; ``receipts_per_hour``: to all writers together;
    ``address_key``: the keyed hash of an address."""

    domain: str
    tokens: Tokens
    verp: Verp
    classifier: Classifier
    thresholds: SoftBounceThresholds
    trusted_reporters: tuple[str, ...]
    postmaster: Address | None
    abuse_mail: AbuseMailReader
    authorities: Mapping[str, Source]
    replies: CaseReplies
    own_domains: frozenset[str]
    receipts_per_hour: int
    address_key: Callable[[Address], bytes]


@dataclass(frozen=True, slots=True)
class Attribution:
    """What a report is about, as far as it says. ``message_ids``: hints from Received fields."""

    claim: Claim | None = None
    path: ReturnPath | None = None
    message_ids: tuple[MessageId, ...] = ()


@dataclass(frozen=True, slots=True)
class InboundRecipient:
    """One recipient of the inbound mail. ``path``: for BOUNCE; ``claim``: of the token, for UNSUBSCRIBE, and whether
    the subject holds nothing else."""

    mailbox: ReportMailbox
    path: ReturnPath | InvalidReturnPath | None = None
    claim: Claim | None = None
    is_token_alone: bool = False


@dataclass(frozen=True, slots=True)
class AttributedReport:
    """An inbound report, parsed and attributed; with the facts about it once they were read.

    ``abuse_mail``: if it is mail of a person to one of our mailboxes; ``writer``: its author, ``writer_key`` the keyed
    hash; ``answers_letter``: it came to the address of a letter about its case. ``accounts``: those it may be about.
    ``signer``: the domain that is proved to have sent it, if that matters.
    """

    inbound: InboundReport
    now: datetime
    report: Report
    recipients: tuple[InboundRecipient, ...]
    attribution: Attribution = Attribution()
    abuse_mail: AbuseMail | None = None
    writer: Address | None = None
    writer_key: bytes | None = None
    answers_letter: bool = False
    facts: ReportFacts = field(default_factory=ReportFacts)
    accounts: Mapping[int, Account] = field(default_factory=dict)
    signer: str | None = None

    @property
    def query(self) -> FactsQuery:
        """The facts that processing needs."""
        paths = [each.path for each in self.recipients if isinstance(each.path, ReturnPath)]
        if self.attribution.path:
            paths.append(self.attribution.path)
        messages = dict.fromkeys(self.attribution.message_ids)
        for path in paths:
            index = path.recipient_index
            messages[path.message_id] = index if messages.get(path.message_id, index) == index else None
        mail = self.abuse_mail
        wants = mail is not None and mail.kind in (AbuseMailKind.COMPLAINT, AbuseMailKind.OPT_OUT)
        return FactsQuery(
            tuple(messages.items()),
            mail.mailings if mail and wants else (),
            mail.case if mail and mail.kind is AbuseMailKind.CASE_REPLY else None,
            self.writer_key if wants else None,
        )

    @property
    def account_ids(self) -> set[int]:
        """The accounts it may be about, by its tokens and facts."""
        claims = [self.attribution.claim, *(each.claim for each in self.recipients)]
        found = {claim.account_id for claim in claims if claim}
        found |= {message.account_id for message in self.facts.messages.values()}
        if self.facts.mailing:
            found.add(self.facts.mailing[1])
        if self.facts.case_account is not None:
            found.add(self.facts.case_account)
        return found | set(self.facts.mailed_by)


def return_path_of(inbound: InboundReport, context: ReportContext, now: datetime) -> tuple[Address, ReturnPath] | None:
    """Return the first valid return path that ``inbound`` was sent to, as an address and by what it says."""
    for to in inbound.recipients:
        path = context.verp.read(to, now)
        if isinstance(path, ReturnPath):
            return to, path
    return None


def attribute(inbound: InboundReport, context: ReportContext, now: datetime, facts: ReportFacts) -> AttributedReport:
    """Parse ``inbound`` and attribute it. ``facts``: about the message that its return path names."""
    ours, path = return_path_of(inbound, context, now) or (None, None)
    report = read(inbound.content, context.classifier, ours, recipients_of(path, facts) if path else ())
    found = (_recipient(to, report, context, now) for to in inbound.recipients)
    recipients = tuple(each for each in found if each)
    if report.kind is ReportKind.COMPLAINT:
        about = in_report(inbound.content, report.original, context.tokens, context.verp, now)
        return AttributedReport(inbound, now, report, recipients, about)
    if is_from_person(report) and any(map(_is_read, recipients)):
        return _of_person(inbound, context, now, report, recipients)
    return AttributedReport(inbound, now, report, recipients)


def _is_read(recipient: InboundRecipient) -> bool:
    """Return whether the text of mail to ``recipient`` may say what is wanted."""
    match recipient.mailbox:
        case ReportMailbox.UNSUBSCRIBE:
            return recipient.claim is None
        case ReportMailbox.BOUNCE:
            return isinstance(recipient.path, ReturnPath)
        case _:
            return True


def _of_person(
    inbound: InboundReport,
    context: ReportContext,
    now: datetime,
    report: Report,
    recipients: tuple[InboundRecipient, ...],
) -> AttributedReport:
    """Attribute mail of a person by what its text says, and by the address that it was sent to."""
    mail = context.abuse_mail.read(inbound.content, inbound.at)
    case = next(filter(None, (context.replies.case_of(to.local) for to in inbound.recipients)), None)
    if case is not None:
        mail = replace(mail, kind=AbuseMailKind.CASE_REPLY, case=case)
    elif mail.kind is AbuseMailKind.OTHER and not mail.summary and _is_to(recipients, ReportMailbox.UNSUBSCRIBE):
        mail = replace(mail, kind=AbuseMailKind.OPT_OUT)  # the mailbox says it
    claim = _first_claim(iter(mail.tokens), context.tokens, len(mail.tokens))
    path = next((each.path for each in recipients if isinstance(each.path, ReturnPath)), None)
    try:
        writer = Address.parse(mail.sender or "")
    except AddressError:
        writer = None
    return AttributedReport(
        inbound,
        now,
        report,
        recipients,
        Attribution(claim, path),
        mail,
        writer=writer,
        writer_key=context.address_key(writer) if writer else None,
        answers_letter=case is not None,
    )


def _is_to(recipients: tuple[InboundRecipient, ...], mailbox: ReportMailbox) -> bool:
    return any(each.mailbox is mailbox for each in recipients)


def query_of(path: ReturnPath | None) -> FactsQuery:
    """Return the query for the message that ``path`` names."""
    return FactsQuery(((path.message_id, path.recipient_index),) if path else ())


def recipients_of(path: ReturnPath, facts: ReportFacts) -> list[Address]:
    """Return the recipient whom ``path`` names, none if it is not known any more."""
    sent = facts.messages.get(path.message_id)
    named = sent.recipient(path.recipient_index) if sent else None
    return [named] if named else []


def is_from_person(report: Report) -> bool:
    """Return whether it is ordinary mail, not a bounce, an auto-reply or feedback."""
    return report.kind is ReportKind.OTHER and report.feedback is None


def in_report(content: bytes, original: Original, tokens: Tokens, verp: Verp, now: datetime) -> Attribution:
    """Attribute a complaint by the returned header, and by return paths anywhere in it (Original-Mail-From)."""
    return Attribution(
        _first_claim(_words_of_fields(original), tokens),
        _first_path(content[:MAX_OCTETS], verp, now),
        tuple(_message_ids(original))[:MAX_IDS],
    )


def token_in(text: str, tokens: Tokens) -> Claim | None:
    """Return the claim of the first valid token in ``text``. White space is ignored: long subjects are folded."""
    return _first_claim(_words("".join(text.split()).encode()), tokens)


def _recipient(to: Address, report: Report, context: ReportContext, now: datetime) -> InboundRecipient | None:
    mailbox = mailbox_of(to, context.domain)
    match mailbox:
        case None:
            return None  # the return path domain has changed since it was accepted
        case ReportMailbox.BOUNCE:
            return InboundRecipient(mailbox, path=context.verp.read(to, now))
        case ReportMailbox.UNSUBSCRIBE:
            subject = report.subject or ""
            claim = token_in(subject, context.tokens)
            return InboundRecipient(mailbox, claim=claim, is_token_alone=_is_word(subject))
        case _:
            return InboundRecipient(mailbox)


def _is_word(text: str) -> bool:
    return _TOKEN.fullmatch("".join(text.split()).encode()) is not None


def _words_of_fields(original: Original) -> Iterator[str]:
    for value in (original.cfbl_feedback_id, original.list_unsubscribe):
        yield from _words((value or "").encode())


def _words(text: bytes) -> Iterator[str]:
    for match in _TOKEN.finditer(text):
        yield match[0].decode()


def _first_claim(words: Iterator[str], tokens: Tokens, limit: int = MAX_CANDIDATES) -> Claim | None:
    for _, word in zip(range(limit), words, strict=False):
        if claim := tokens.read(word):
            return claim
    return None


def _first_path(content: bytes, verp: Verp, now: datetime) -> ReturnPath | None:
    for _, match in zip(range(MAX_CANDIDATES), _PATH.finditer(content), strict=False):
        path = verp.read(Address(PREFIX + match[1].decode(), match[2].decode().lower()), now)
        if isinstance(path, ReturnPath):
            return path
    return None


def _message_ids(original: Original) -> Iterator[MessageId]:
    for value in original.fields.each("received")[:MAX_CANDIDATES]:
        if match := _MESSAGE_ID.search(value):
            try:
                yield parse_id(match[1])
            except ValueError:
                continue

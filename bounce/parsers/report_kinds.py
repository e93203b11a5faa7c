"""The parsed report: one shape for all formats.

Invariants: Holds no more than the report said. A redacted address is None, a missing status is x.0.0.

Limitations: Header fields of the returned message are kept as received, at most MAX_ORIGINAL octets of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import Enum
from functools import cache

from bounce.classify import Classifier
from bounce.parsers.mime import NO_FIELDS, Fields
from bounce.parsers.replies import quotes_reply, reply_of, stage_of, status_of
from mta.mail.address import Address
from mta.mail.delivery import Action, Classification, Fault, Stage
from mta.mail.reply import Reply

MAX_RECIPIENTS = 150  # recipients of one report that are kept


class ReportKind(Enum):
    """The kind of an inbound report."""

    BOUNCE = "bounce"  # a failure or a delay
    COMPLAINT = "complaint"
    AUTO_REPLY = "auto_reply"  # vacation notice, ticket system
    CHALLENGE = "challenge"  # challenge/response: "prove that you are human"
    RECEIPT = "receipt"  # delivered or displayed: changes nothing
    OTHER = "other"  # ordinary mail, and feedback that is not a complaint


class ReportedAction(Enum):
    """The Action field (RFC 3464 2.3.3), extended to receipts, auto-replies and feedback."""

    FAILED = "failed"
    DELAYED = "delayed"
    DELIVERED = "delivered"
    RELAYED = "relayed"
    EXPANDED = "expanded"
    DISPLAYED = "displayed"  # or deleted (RFC 8098)
    REPLIED = "replied"
    COMPLAINED = "complained"
    NOTED = "noted"  # feedback that is not a complaint


class Feedback(Enum):
    """Feedback-Type (RFC 5965 7.3, RFC 6430, RFC 6591 and the IANA registry)."""

    ABUSE = "abuse"
    FRAUD = "fraud"
    VIRUS = "virus"
    OPT_OUT = "opt-out"
    MISCATEGORIZED = "miscategorized"
    OTHER = "other"
    NOT_SPAM = "not-spam"
    AUTH_FAILURE = "auth-failure"

    @property
    def is_complaint(self) -> bool:
        return self not in (Feedback.NOT_SPAM, Feedback.AUTH_FAILURE)


@dataclass(frozen=True, slots=True)
class Original:
    """The returned header of the message that the report is about."""

    header: bytes = b""
    fields: Fields = NO_FIELDS

    @property
    def list_unsubscribe(self) -> str | None:
        return self.fields.get("list-unsubscribe")

    @property
    def cfbl_feedback_id(self) -> str | None:
        return self.fields.get("cfbl-feedback-id")


@dataclass(frozen=True, slots=True)
class ReportedRecipient:
    """What a report says of one recipient. ``address``: as in our envelope, if the report says so (Original-Recipient
    before Final-Recipient); None if redacted or unreadable. ``final``: that after forwarding. ``reply``: from the
    status and the diagnostic text, for the rules. ``classification``: None unless a classifier was given."""

    action: ReportedAction
    address: Address | None = None
    final: Address | None = None
    status: str = ""
    reply: Reply | None = None
    diagnostic: str = ""
    stage: Stage | None = None  # the rejected command, if the report says so
    host: str | None = None  # Remote-MTA, else the reporter
    classification: Classification | None = None

    @property
    def suppress(self) -> bool:
        """Whether it suppresses the address at once."""
        found = self.classification
        return self.action is ReportedAction.FAILED and found is not None and found.action is Action.SUPPRESS

    @property
    def hard(self) -> bool:
        """Whether it failed because the address or its domain does not exist, so that the next message fails too."""
        return self.action is ReportedAction.FAILED and self.classification is not None and self.classification.hard


def part_of(
    address: Address | None,
    text: str,
    status: str = "",
    action: ReportedAction = ReportedAction.FAILED,
    *,
    said: str = "",
    final: Address | None = None,
    host: str | None = None,
) -> ReportedRecipient:
    """Build a recipient's part from the ``text`` about it; ``said``: where the reply is, if not in all of it."""
    reply = reply_of(said or text, status, action is not ReportedAction.DELAYED)
    stage = stage_of((text,))
    return ReportedRecipient(action, address, final or address, status_of(reply, status), reply, text, stage, host)


@dataclass(frozen=True, slots=True)
class Report:
    """A parsed report. ``form``: the format that matched. ``reporter``: the Reporting-MTA or its equivalent."""

    kind: ReportKind
    form: str = ""
    recipients: tuple[ReportedRecipient, ...] = ()
    original: Original = Original()
    reporter: str | None = None
    feedback: Feedback | None = None
    date: datetime | None = None
    sender: str | None = None  # the From field, for display
    subject: str | None = None
    envelope_id: str | None = None  # Original-Envelope-Id, RFC 3464 2.2.1
    arrived: datetime | None = None  # Arrival-Date: when the reporter got the message
    evidence: tuple[str, ...] = ()  # what shows who wrote the mail, with its weights

    def classified(self, classifier: Classifier) -> Report:
        """Return the report with each reply classified. A delay stays a delay, whatever the reply behind it says."""
        classify = cache(classifier.classify)  # many recipients share a reply
        return replace(self, recipients=tuple(_classified(part, classify, self.form) for part in self.recipients))


# Where the reply says no more than this, the lines around it may: "mail.local: unknown user" above "554 Service
# unavailable".
_SAYS_NOTHING = ("refused", "unknown", "system_failure")


def _classified(
    part: ReportedRecipient, classify: Callable[[Reply, Stage, str | None], Classification], form: str
) -> ReportedRecipient:
    if part.reply is None or part.action not in (ReportedAction.FAILED, ReportedAction.DELAYED):
        return part
    host = part.host or (f"mx.{part.address.domain}" if part.address else None)
    # An answer to DATA may be one to a RCPT TO before it (pipelining): what it says is weighed by _is_certain.
    stage = Stage.RECIPIENT if part.stage in (None, Stage.DATA, Stage.FINAL_DOT) else part.stage
    found = classify(part.reply, stage, host)
    if found.category in _SAYS_NOTHING and part.diagnostic:
        beside = classify(Reply.parse(part.reply.code, " ".join(part.diagnostic.split())), stage, host)
        found = found if beside.category in _SAYS_NOTHING else beside
    if (found.hard or found.action is Action.SUPPRESS) and not _is_certain(part, part.reply, found):
        of_message = part.stage in (Stage.DATA, Stage.FINAL_DOT)
        found = replace(
            found, action=Action.FAIL, hard=False, fault=Fault.SITE if of_message else found.fault
        )  # what was said to the message counts against nobody
    if part.action is ReportedAction.DELAYED and found.action is not Action.RETRY:
        found = replace(found, action=Action.RETRY, hard=False)
    if part.action is ReportedAction.FAILED and found.action is Action.RETRY:
        # The reporter gave up, so there is no retry. If it says so in a field, a user unknown for days is none.
        final = classify(Reply(part.reply.code + 100, f"5{part.reply.status[1:]}", part.reply.text), stage, host)
        gone = final.hard and final.category == found.category == "bad_mailbox" and form == "rfc3464"
        found = replace(found, action=Action.FAIL, hard=gone and _is_certain(part, part.reply, final))
    return replace(part, classification=found)


def _is_certain(part: ReportedRecipient, reply: Reply, found: Classification) -> bool:
    """Return whether "no such user" or "mailbox closed" really describes the recipient. It is about RCPT TO unless the
    report names another command: an answer to MAIL FROM or to the connection says nothing of a recipient, one to the
    message only with a code about the address (x.1.z, x.2.z); x.7.z (policy) makes it doubtful that one is closed,
    unless the provider is known to mean it."""
    subject, _, detail = reply.status.partition(".")[2].partition(".")
    if subject == "1" and detail in ("7", "8"):
        return False
    if part.stage in (Stage.CONNECT, Stage.TLS, Stage.HELLO, Stage.SENDER) and quotes_reply(part.diagnostic):
        return False
    if found.certain or subject == "1" or part.stage is Stage.RECIPIENT:
        return True
    if part.stage in (Stage.DATA, Stage.FINAL_DOT):
        return subject == "2" and not found.hard
    return subject != "7" or found.hard


def merged(parts: Sequence[ReportedRecipient]) -> tuple[ReportedRecipient, ...]:
    """Return one part per recipient and action, in order; of several the one with the longest diagnostic."""
    found: dict[tuple[str, ReportedAction], ReportedRecipient] = {}
    unnamed = 0
    for part in parts[:MAX_RECIPIENTS]:
        unnamed += part.address is None
        key = (part.address.key if part.address else f"#{unnamed}", part.action)
        if key not in found or len(part.diagnostic) > len(found[key].diagnostic):
            found[key] = part
    return tuple(found.values())

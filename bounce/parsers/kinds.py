"""What a report says, in one shape for all formats.

It must never hold more than a report said: an address that was redacted is None, a status that nobody gave is x.0.0.

*Limits.* Header fields of the returned message are kept as they came, at most MAX_ORIGINAL octets of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import Enum
from functools import cache

from bounce.classify import Classifier
from bounce.parsers.mime import NO_FIELDS, Fields
from bounce.parsers.replies import quotes_reply
from mta.mail.address import Address
from mta.mail.delivery import Action, Classification, Stage
from mta.mail.reply import Reply

MAX_RECIPIENTS = 250  # recipients of one report that are kept


class ReportKind(Enum):
    """What came back."""

    BOUNCE = "bounce"  # a failure or a delay
    COMPLAINT = "complaint"
    AUTO_REPLY = "auto_reply"  # a vacation notice or another answer of a program
    CHALLENGE = "challenge"  # "prove that you are human"
    RECEIPT = "receipt"  # delivered or displayed: changes nothing
    OTHER = "other"  # ordinary mail, and feedback that is no complaint


class ReportedAction(Enum):
    """The Action field (RFC 3464 2.3.3), and what an answer or a complaint says of its author."""

    FAILED = "failed"
    DELAYED = "delayed"
    DELIVERED = "delivered"
    RELAYED = "relayed"
    EXPANDED = "expanded"
    DISPLAYED = "displayed"  # or deleted, by RFC 8098
    REPLIED = "replied"
    COMPLAINED = "complained"
    NOTED = "noted"  # feedback that is no complaint


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
    """The message that the report is about, as far as its header was returned."""

    header: bytes = b""
    fields: Fields = NO_FIELDS

    @property
    def message_id(self) -> str | None:
        return self.fields.get("message-id")

    @property
    def return_path(self) -> str | None:
        return self.fields.get("return-path")

    @property
    def list_unsubscribe(self) -> str | None:
        return self.fields.get("list-unsubscribe")

    @property
    def feedback_id(self) -> str | None:
        return self.fields.get("feedback-id")

    @property
    def cfbl_feedback_id(self) -> str | None:
        return self.fields.get("cfbl-feedback-id")


@dataclass(frozen=True, slots=True)
class Reported:
    """One recipient's part. ``address``: as we sent to it, if the report tells (Original-Recipient before
    Final-Recipient), None if it was redacted or cannot be read; ``final``: where it went in the end.

    ``reply``: the words for the rules, put together from the status and the diagnostic text. ``meaning``: what the
    rules say of it, None for whoever did not ask them.
    """

    fate: ReportedAction
    address: Address | None = None
    final: Address | None = None
    status: str = ""
    reply: Reply | None = None
    diagnostic: str = ""
    stage: Stage | None = None  # the command that was refused, if the report tells
    host: str | None = None  # who said it: Remote-MTA, else the reporter
    own: bool = True  # words without a reply code are the reporter's own finding
    meaning: Classification | None = None

    @property
    def hard(self) -> bool:
        """It failed, and the address or its domain does not exist: the next message will fail as well."""
        return self.fate is ReportedAction.FAILED and self.meaning is not None and self.meaning.hard


@dataclass(frozen=True, slots=True)
class Report:
    """What came back. ``form``: which reader understood it. ``reporter``: the Reporting-MTA or who else says so."""

    kind: ReportKind
    form: str = ""
    recipients: tuple[Reported, ...] = ()
    original: Original = Original()
    reporter: str | None = None
    feedback: Feedback | None = None
    date: datetime | None = None
    sender: str | None = None  # the From field, for people
    subject: str | None = None
    envelope_id: str | None = None  # Original-Envelope-Id, RFC 3464 2.2.1
    arrived: datetime | None = None  # Arrival-Date: when the reporter got the message

    def classified(self, classifier: Classifier) -> Report:
        """With the meaning of each reply. A delay stays a delay, whatever the reply behind it says."""
        ask = cache(classifier.classify)  # many recipients share a reply
        return replace(self, recipients=tuple(_classified(part, ask) for part in self.recipients))


def _classified(part: Reported, ask: Callable[[Reply, Stage, str | None], Classification]) -> Reported:
    if part.reply is None or part.fate not in (ReportedAction.FAILED, ReportedAction.DELAYED):
        return part
    host = part.host or (f"mx.{part.address.domain}" if part.address else None)
    meaning = ask(part.reply, part.stage or Stage.RECIPIENT, host)
    if (meaning.hard or meaning.action is Action.SUPPRESS) and not _is_certain(part, part.reply, meaning):
        meaning = replace(meaning, action=Action.FAIL, hard=False)
    if part.fate is ReportedAction.DELAYED and meaning.action is not Action.RETRY:
        meaning = replace(meaning, action=Action.RETRY, hard=False)
    if part.fate is ReportedAction.FAILED and meaning.action is Action.RETRY:
        meaning = replace(meaning, action=Action.FAIL)  # they gave up: nobody tries again
    return replace(part, meaning=meaning)


def _is_certain(part: Reported, reply: Reply, meaning: Classification) -> bool:
    """Whether "no such user", or "mailbox closed", can be believed of the recipient.

    Filters say it too, of content or senders that they do not want. So it counts if one provider's own words say it,
    if the enhanced code is about the address (x.1.z but for the sender's 7 and 8), if RCPT TO was refused, or if the
    mail system speaks for itself without quoting a reply; not when a bare or another code comes from who knows where.
    """
    subject, _, detail = reply.status.partition(".")[2].partition(".")
    if subject == "1" and detail in ("7", "8"):
        return False
    if part.stage in (Stage.CONNECT, Stage.TLS, Stage.HELLO, Stage.SENDER) and quotes_reply(part.diagnostic):
        return False
    about_it = ("1",) if meaning.hard else ("1", "2")  # x.2.z: the mailbox's state
    if (meaning.certain and part.own) or subject in about_it or part.stage is Stage.RECIPIENT:
        return True
    if part.stage in (Stage.DATA, Stage.FINAL_DOT):
        return False
    return subject in ("0", "4", "5") and (
        meaning.category == "bad_domain" or (part.own and not quotes_reply(part.diagnostic))
    )


def merged(parts: Sequence[Reported]) -> tuple[Reported, ...]:
    """One part for each recipient and fate, in order; of several the one that says most."""
    found: dict[tuple[str, ReportedAction], Reported] = {}
    nameless = 0
    for part in parts[:MAX_RECIPIENTS]:
        nameless += part.address is None
        key = (part.address.key if part.address else f"#{nameless}", part.fate)
        if key not in found or len(part.diagnostic) > len(found[key].diagnostic):
            found[key] = part
    return tuple(found.values())

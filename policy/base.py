"""What a rule of the chain is given, and what it may answer.

A rule is a small object with a name and one or several stages, each a pure function:

    on_sender         MAIL: may this account send, from this envelope sender?
    on_recipient      RCPT: may it mail this recipient?
    on_content        the whole message
    before_delivery   before an attempt: may this recipient still be mailed?

What on_sender and on_recipient say is an early answer, which saves the client the rest of the transaction. What counts
is said when the message is complete: on_recipient is asked again, with all facts, and so is on_sender, unless the rule
has on_content, which then judges the sender too.

All that a rule may know comes as arguments: the message, the facts that were fetched for it in one batched look-up, and
the time. It does not await, log, or read a clock.

Limitations: a rule that needs IO (a scanner) does not fit here; its input comes as facts.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import field
from datetime import datetime
from typing import NamedTuple, Protocol

from mta.mail.address import Address
from mta.mail.hold import Hold as Hold  # a noun of mail that rules may answer with
from mta.mail.message import Message
from mta.mail.reply import Reply
from mta.mail.values import dataclass
from policy.accounts.account import Account, Grant, Stream
from policy.accounts.mailing import Mailing
from policy.footer.notice import Notice
from policy.html.web_page import WebPage
from policy.mailing.reference import Compared
from policy.permission.consent import Consent
from policy.permission.marketing_signs import MailingMarks
from policy.permission.suppression import Reason
from policy.text.message_text import MessageText

NOTHING_READ = MessageText(b"")


@dataclass(frozen=True, slots=True)
class Suppression:
    """An address that must not be mailed, and why. ``account_id`` None: for all accounts.

    ``topic``: "" for every message, ``*`` for all marketing, else for marketing about that topic only. ``detail``: the
    reason in words. ``until``: when it ends by itself, None: never.
    """

    address: Address
    account_id: int | None
    reason: Reason
    rule: str
    since: datetime
    topic: str = ""
    detail: str = ""
    until: datetime | None = None

    @property
    def why(self) -> str:
        """The reason, as senders and operators are told."""
        return f"{self.reason.value}: {self.detail}" if self.detail else self.reason.value

    def covers(self, stream: Stream, topic: str | None) -> bool:
        """Whether it speaks of a message of ``stream`` about ``topic``; one for a topic waits until that is known."""
        if self.topic == "":
            return True
        return stream is Stream.MARKETING and self.topic in ("*", topic)

    def covers_mailing(self, topic: str | None) -> bool:
        """Whether it speaks of a message that looks like a mailing, about ``topic`` if it says so, in any stream."""
        return topic is None or self.covers(Stream.MARKETING, topic)


@dataclass(frozen=True, slots=True)
class RecipientFacts:
    """All that rules may know of one recipient: what this account must not send it, what it has agreed to, and when
    it was last mailed. ``accepted``: when marketing mail for it was accepted lately, newest last; ``everywhere``: the
    same over all accounts. ``key``: the keyed hash of the address, 16 octets, for tokens."""

    address: Address
    suppressions: tuple[Suppression, ...] = ()
    consents: tuple[Consent, ...] = ()
    accepted: tuple[datetime, ...] = ()
    everywhere: tuple[datetime, ...] = ()
    key: bytes = b""


@dataclass(frozen=True, slots=True)
class Scan:
    """A scanner's word. ``refused``: why it would not let the message pass; ``later``: why it would be asked again
    later; ``failed``: why it could not say, if that is to stop the message (``on_failure``). ``evidence``: what it
    found, or why a message that was not scanned may pass. ``labels``: the names of all that it found, good or bad
    (rspamd's symbols).
    """

    scanner: str
    refused: str | None = None
    later: str | None = None
    failed: str | None = None
    evidence: str = ""
    labels: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class ListedLink:
    """A host in a link that a URL blocklist lists, and what the list means by that."""

    host: str
    list: str
    means: str = ""


@dataclass(frozen=True, slots=True)
class LinkCheck:
    """What is known of a message's links. ``taken_down``: takedowns that cover one; ``failed``: why they could not be
    looked up, if that is to stop the message (``on_failure``); ``note``: why it need not."""

    taken_down: tuple[str, ...] = ()
    listed: tuple[ListedLink, ...] = ()
    failed: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True)
class Facts:
    """All that rules may know beside the message.

    ``mailing_name``: what the message called its mailing (``X-MTA-Mailing``), ``mailing``: what that is, if it is
    known. ``reference``: whether it is one of the messages that were confirmed, None if it was compared with none.
    ``marks``: those of a mailing. ``repeats``: how many recipients get this text within the hour, this message's
    included; 0 if no rule has ``counts_texts``.
    ``topic``: what the message is about: its own word for it (``X-MTA-Topic``) or its mailing's; None before
    the message is there. ``quota_left``: recipients that the account's quotas still allow, None: no limit.
    """

    account: Account
    stream: Stream = Stream.TRANSACTIONAL
    grant: Grant = field(default_factory=Grant)
    marks: MailingMarks = field(default_factory=MailingMarks)
    repeats: int = 0
    mailing_name: str | None = None
    mailing: Mailing | None = None
    reference: Compared | None = None
    topic: str | None = None
    recipients: tuple[RecipientFacts, ...] = ()
    reading: MessageText = NOTHING_READ
    scans: tuple[Scan, ...] = ()
    links: LinkCheck = LinkCheck()
    quota_left: int | None = None


@dataclass(frozen=True, slots=True)
class Pass:
    pass


@dataclass(frozen=True, slots=True)
class Amend:
    """The message goes on with ``fields`` on top, in place of all that it had under their names: raw fields without
    their last CRLF (``policy.header_fields.fold``). They are written when all rules have run, so that no rule sees
    another's. ``note`` says what was written and why. ``signers``: domains whose DKIM signature the fields need beside
    the author's. ``notices``: what is written into its texts, if ``facts.reading.writer`` has no fault."""

    fields: tuple[bytes, ...]
    note: str
    signers: tuple[str, ...] = ()
    notices: tuple[Notice, ...] = ()


@dataclass(frozen=True, slots=True)
class Refuse:
    """``reply`` goes to the client: the rule, the fact, the remedy."""

    reply: Reply


@dataclass(frozen=True, slots=True)
class Observe:
    """The message passes; ``instead`` is recorded as what the rule would have done, were it not set to observe."""

    instead: Refuse | Hold


Verdict = Pass | Amend | Hold | Refuse | Observe  # a held message is accepted, and waits


class Finding(NamedTuple):  # thirty are made for each message, and a tuple is made in half the time
    """One rule's verdict on one message, kept with it: the compliance record. ``evidence`` is one line of text."""

    policy: str
    verdict: str  # "pass", "amend", "hold", "refuse", "observe" (would have refused or held) or "error"
    evidence: str
    recipient: str | None = None  # of whom it speaks, if not of the whole message


class SenderRule(Protocol):
    """Judges the sender at MAIL, with ``Pass`` or ``Refuse``. ``name`` is the rule's in profiles, replies, findings.

    A rule with a true class attribute ``mandatory`` is asked here and before delivery even if a profile leaves it out
    or only observes it.
    """

    name: str

    def on_sender(self, sender: Address | None, facts: Facts, now: datetime) -> tuple[Verdict, str]:
        """Return the verdict and its evidence. ``sender`` None: the null return path."""
        ...


class RecipientRule(Protocol):
    """Judges each recipient, with ``Pass``, ``Hold`` or ``Refuse``."""

    name: str

    def on_recipient(self, recipient: RecipientFacts, facts: Facts, now: datetime) -> tuple[Verdict, str]:
        """Return the verdict and its evidence. At RCPT ``facts`` lacks what only the message can tell: its topic, its
        mailing, and, if the credential may use both, its stream."""
        ...


class ContentRule(Protocol):
    """Judges the message, with any verdict.

    With a true attribute ``content_only`` its verdict depends on ``facts.reading``, ``facts.account``, the mailing's
    ``pages`` and what its ``beside(message, reading)`` returns, if it has that, alone: so that it is the same for all
    messages that match a reference. With ``personal`` it writes what only one recipient may see, and gets a copy for
    each. With ``needs_scans`` the scanners are asked before it runs, with ``needs_links`` its links are looked up.
    """

    name: str

    def on_content(self, message: Message, facts: Facts, now: datetime) -> tuple[Verdict, str]:
        """Return the verdict and its evidence: one line, for ``mta explain``."""
        ...


class DeliveryRule(Protocol):
    """Judges each recipient once more before an attempt, with ``Pass`` or ``Refuse``, which fails it for good."""

    name: str

    def before_delivery(self, recipient: RecipientFacts, facts: Facts, now: datetime) -> tuple[Verdict, str]:
        """Return the verdict and its evidence. Of the recipient only its suppressions are known, of the message its
        account, stream, topic and first mark of a mailing. Not asked if they were looked up within the last second."""
        ...


class PageVerdict(NamedTuple):
    """``fault``: why a page is not accepted, or "". ``seen``: what speaks for it."""

    fault: str
    seen: str


class PageRule(Protocol):
    """Has pages looked at that a message links to, once, when its mailing is confirmed. What was seen is in
    ``facts.mailing.pages`` when it judges a message."""

    name: str

    def pages(self, message: Message, facts: Facts) -> Iterable[str]:
        """Return the URLs whose pages are to be looked at."""
        ...

    def on_page(self, page: WebPage, facts: Facts) -> PageVerdict:
        """Judge one that was found."""
        ...


Rule = SenderRule | RecipientRule | ContentRule | DeliveryRule

STAGES = ("on_sender", "on_recipient", "on_content", "before_delivery")

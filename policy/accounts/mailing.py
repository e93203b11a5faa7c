"""The mailing: one dispatch to one list about one topic, confirmed by a person before it is sent.

Invariants: an old confirmation never counts for a new dispatch; each mailing is confirmed itself.
"""

from __future__ import annotations

from dataclasses import field
from datetime import datetime
from enum import Enum

from mta.mail.hold import Hold, HoldSource
from mta.mail.values import dataclass
from policy.accounts.checked_pages import CheckedPages


class MailingObstacle(Enum):
    """What keeps the messages of a mailing; the ``ref`` of its holds. All but the last end with the confirmation; those
    about the list also need what they name, that about the content a reference that the message matches."""

    UNCONFIRMED = "unconfirmed"
    UNMATCHED = "unmatched"  # nobody has confirmed what the message says
    MATCHED = "matched"  # somebody has since, and it is about to be released
    UNKNOWN_LIST = "unknown_list"  # it is not known where the list comes from
    UNAPPROVED_LIST = "unapproved_list"  # no reviewer has approved of that
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class Confirmation:
    """Somebody's word that this dispatch keeps to the rules, under a version of the terms."""

    at: datetime
    by: str
    terms: str


@dataclass(frozen=True, slots=True)
class Sample:
    """Of a first mailing to a new list only ``size`` messages go out; the rest waits for ``released_at``."""

    size: int
    taken: int = 0
    released_at: datetime | None = None

    @property
    def exhausted(self) -> bool:
        """Whether what comes now must wait."""
        return self.released_at is None and self.taken >= self.size


@dataclass(frozen=True, slots=True)
class Mailing:
    """``id``: 26 characters, unique over all accounts; the one that goes out. ``name``: the account's own for it.

    ``category``: the kind of goods that it is about; "": its topic. ``list``: the list it goes to; ``origin``: where
    that list comes from, None if nobody has said so; ``approved``: whether a reviewer has approved that origin.
    ``stopped``: why nothing more may leave, if so.
    ``references``: the numbers of the messages that were confirmed, which its messages must match; ``redacted``: those
    of them from which an address was erased, so that nothing matches them.
    ``pages``: those that were looked at for the confirmation, behind links.
    """

    id: str
    account_id: int
    name: str
    topic: str
    list: str
    confirmation: Confirmation | None = None
    sample: Sample | None = None
    origin: str | None = None
    approved: bool = False
    stopped: str | None = None
    references: tuple[int, ...] = ()
    redacted: tuple[int, ...] = ()
    category: str = ""
    pages: CheckedPages = field(default_factory=CheckedPages)


def mailing_hold(obstacle: MailingObstacle, text: str) -> Hold:
    """Return the hold for an obstacle."""
    return Hold(HoldSource.MAILING, obstacle.value, text)


def unmatched_hold(text: str) -> Hold:
    """Return why a message is held that differs from what was confirmed, as ``text`` says."""
    return mailing_hold(MailingObstacle.UNMATCHED, text)


def unmatched_text(mailing_id: str, name: str, difference: str) -> str:
    """Return that a message is not what was confirmed, and the remedy."""
    return (
        f'the message is not one that was confirmed for mailing "{name}": {difference}; '
        f"confirm it as it is (mta mailing confirm {mailing_id} --message FILE.eml)"
    )


def stop_hold(reason: str) -> Hold:
    """Return why the mail of a stopped mailing is held."""
    return mailing_hold(MailingObstacle.STOPPED, f"the mailing was stopped: {reason}")


def sampling_hold(mailing_id: str, name: str, list_name: str, size: int) -> Hold:
    """Return why a message beyond the sample of ``size`` is held."""
    text = (
        f'only the first {size} messages of mailing "{name}" to the new list "{list_name}" are sent; '
        f"look at them, then: mta mailing release {mailing_id}"
    )
    return Hold(HoldSource.SAMPLING, "", text)

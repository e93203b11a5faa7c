"""Who a message says it is from: one strict parser of From, Sender and Reply-To for every rule.

The same field value comes with each copy of a mailing, so results are cached.

Invariants: two rules never read two different authors in one field.

Limitations: those of ``mta.mail.mailbox``: one address, no groups, no lists.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from mta.mail.address import Address, AddressError
from mta.mail.headers import unfold
from mta.mail.mailbox import read_mailbox
from mta.mail.message import Message
from policy.text.header_text import decoded, unquoted


@dataclass(frozen=True, slots=True)
class Author:
    """``name``: the display name as readers see it, decoded; empty if there is none."""

    name: str
    address: Address


@lru_cache(4096)
def read_author(value: bytes) -> Author:
    """The author in a raw field value. Raises AddressError with a text for the client."""
    mailbox = read_mailbox(unfold(value))
    return Author(unquoted(decoded(mailbox.name)), mailbox.address)


def authors(message: Message, *names: bytes) -> list[Author]:
    """Whoever can be read in the fields ``names`` (lower case); what cannot is for ``sender_identity`` to refuse."""
    found = []
    for name in names:
        for value in message.headers.all(name):
            try:
                found.append(read_author(value))
            except AddressError:
                continue
    return found

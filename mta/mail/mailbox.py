"""The author of a message: one strict reading of the From, Sender and Reply-To fields.

The sender that a reader sees must be the sender that was checked. So only forms that every mail program reads alike
are accepted, and everything else is an error:

    ann@example.com      ann@example.com (Ann)      <ann@example.com>      Ann Lee <ann@example.com>

Invariants: nothing is guessed: no groups, no route addresses, no address lists where one author is meant, no repair.
Limitations: comments are accepted only after a bare address, not nested. Display names are not decoded.
"""

from __future__ import annotations

import re

from mta.mail.address import Address, AddressError

MAX_FIELD = 2000  # characters

_QUOTED = r'"(?:[^"\\\x00-\x1f\x7f]|\\[\x20-\x7e])*"'
_PHRASE = rf'(?:[^\x00-\x1f\x7f"<>@,;:\\()\[\]]|{_QUOTED})*'
_ANGLE = re.compile(rf'(?P<name>{_PHRASE})<(?P<address>(?:[^\x00-\x20\x7f<>"]|{_QUOTED})+)>\Z')
_BARE = re.compile(
    rf'(?P<address>(?:[^\x00-\x20\x7f<>",;()]|{_QUOTED})+)(?:[ \t]+\((?P<name>[^()\\<>\x00-\x1f\x7f]*)\))?\Z'
)


def parse_mailbox(value: str) -> Address:
    """Return the one address in an unfolded field value. Raises AddressError with a text for the client."""
    return split_mailbox(value)[1]


def split_mailbox(value: str) -> tuple[str, Address]:
    """Return the display name as written (or the comment instead), and the address. Raises AddressError."""
    value = value.replace("\t", " ").strip()
    if not value:
        raise AddressError("is empty")
    if len(value) > MAX_FIELD:
        raise AddressError(f"is longer than {MAX_FIELD} characters")
    match = _ANGLE.match(value) or _BARE.match(value)
    if not match:
        raise AddressError("must hold exactly one address, written as `Name <local@domain>`")
    try:
        return (match["name"] or "").strip(), Address.parse(match["address"])
    except AddressError as error:
        raise AddressError(f"holds no usable address: {error}") from None

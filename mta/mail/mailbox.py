"""The author of a message: one strict reading of the From, Sender and Reply-To fields.

Whoever the reader of the mail will take for its sender must be whoever we checked. So only forms that every mail
program reads alike are accepted, and everything else is an error:

    ann@example.com      ann@example.com (Ann)      <ann@example.com>      Ann Lee <ann@example.com>

It must never guess: no groups, no route addresses, no address lists where one author is meant, no repair.

*Limits.* Comments are accepted only behind a bare address, not nested. Encoded words in display names are not decoded.
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
    """The one address in an unfolded field value. Raises AddressError with a text for the client."""
    return split_mailbox(value)[1]


def split_mailbox(value: str) -> tuple[str, Address]:
    """The display name as it is written (or the comment that stands for one), and the address. Raises AddressError."""
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

"""The author of a message: one strict reading of the From, Sender and Reply-To fields.

The sender that a reader sees must be the sender that was checked. So every legal form of one mailbox is read (RFC 5322
3.4, with comments and blanks where they may stand), a field is written anew where programs might read its address in
two ways (``Mailbox.value``), and everything else is an error:

    ann@example.com      ann@example.com (Ann)      <ann@example.com>      Ann (Sales) <ann@example.com>

Invariants: nothing is guessed: no groups, no route addresses, no address lists where one author is meant, no comment
before an address that looks like one.
Limitations: comments are nested at most twice. Blanks around the dots of an address (obs-local-part) are not accepted.
Display names are not decoded.
"""

from __future__ import annotations

import re

from mta.mail.address import Address, AddressError
from mta.mail.characters import hidden
from mta.mail.values import dataclass

MAX_FIELD = 2000  # characters


def _comment(text: str) -> str:
    return rf"\((?:{text}|\((?:{text}|\((?:{text})*\))*\))*\)"


_COMMENT = _comment(r"[^()\\<>@\x00-\x1f\x7f]|\\[ -;=?A-~]")  # nothing that could be taken for an address
_COMMENT_BEHIND = _comment(r"[^()\\<>\x00-\x1f\x7f]|\\[ -;=?-~]")  # where the address is known already
_CFWS = rf"(?:[ ]|{_COMMENT})*"
_END = rf"(?P<end>(?:[ ]|{_COMMENT_BEHIND})*)\Z"
_QUOTED = r'"(?:[^"\\\x00-\x1f\x7f]|\\[\x20-\x7e])*"'
_PHRASE = rf'(?:[^\x00-\x1f\x7f"<>@,;:\\()\[\]]|{_QUOTED}|{_COMMENT})*'
_LOCAL = rf'(?:{_QUOTED}|[^\x00-\x20\x7f<>@",;:\\()\[\]]+)'
_DOMAIN = r'[^\x00-\x20\x7f<>@",;:\\()\[\]]+'
_ADDRESS = rf"(?P<local>{_LOCAL}){_CFWS}@{_CFWS}(?P<domain>{_DOMAIN})"
_ANGLE = re.compile(rf"(?P<name>{_PHRASE})<(?P<inside>{_CFWS}{_ADDRESS}{_CFWS})>{_END}")
_BARE = re.compile(rf"(?P<start>(?:{_CFWS}[ ])?)(?P<inside>{_CFWS}{_ADDRESS}){_END}")
_ONE_COMMENT = re.compile(_COMMENT_BEHIND)
_GROUP = re.compile(rf"{_PHRASE}:")


@dataclass(frozen=True, slots=True)
class Mailbox:
    """``name``: what stands beside the address, as written: clients show comments, too. ``value``: the field's value,
    with its address spelled as it is compared."""

    name: str
    address: Address
    value: str


def parse_mailbox(value: str) -> Address:
    """Return the one address in an unfolded field value. Raises AddressError with a text for the client."""
    return read_mailbox(value).address


def read_mailbox(value: str) -> Mailbox:
    """Return the one mailbox in an unfolded field value. Raises AddressError with a text for the client."""
    text = value.replace("\t", " ").strip()
    if not text:
        raise AddressError("is empty")
    if len(text) > MAX_FIELD:
        raise AddressError(f"is longer than {MAX_FIELD} characters")
    angle = _ANGLE.match(text)
    match = angle or _BARE.match(text)
    if not match:
        raise AddressError(_why_not(text))
    try:
        address = Address.parse(f"{match['local']}@{match['domain']}")
    except AddressError as error:
        raise AddressError(f"holds no usable address: {error}") from None
    end = match["end"]
    is_plain = _is_plain(match["inside"], match["domain"], address)
    if angle:
        name = angle["name"]
        return Mailbox(f"{name}{end}".strip(), address, value if is_plain else f"{name}<{address}>{end}")
    start = (match["start"] + match["inside"].partition(match["local"])[0]).strip()
    is_plain = is_plain and end[:1] in ("", " ")
    return Mailbox(_comments(start + end), address, value if is_plain else f"{start} {address} {end.strip()}".strip())


def _is_plain(inside: str, domain: str, address: Address) -> bool:
    """Return whether an address is written as it is compared; the case of a domain in ASCII makes no difference."""
    if inside == str(address):
        return True
    return "xn--" not in address.domain and inside == f"{address.local}@{domain}" and domain.lower() == address.domain


def _why_not(value: str) -> str:
    if unseen := hidden(value):
        return f"holds no usable address: {unseen} is not allowed; take it out"
    if "@" not in value and ":" not in value:
        return "holds no usable address: an address needs an @ and a domain"
    if _GROUP.match(value):
        return "is a group (RFC 6854) or has an unquoted colon; write one address as `Name <local@domain>`"
    return "must hold exactly one address, written as `Name <local@domain>`"


def _comments(text: str) -> str:
    """Return the texts of all comments."""
    return " ".join(re.sub(r"\\(.)", r"\1", comment[1:-1]).strip() for comment in _ONE_COMMENT.findall(text))

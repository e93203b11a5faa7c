"""Where the links of a message lead: the host and path of each address in it, as a browser would open it.

Pictures, forms and styles count as links do, and what is hidden as what shows: whoever lists an address lists it
wherever it stands. A browser drops tabs and line ends in an address, takes a backslash for a slash, decodes the host,
and reads ``0x7f.1`` and ``2130706433`` as addresses (WHATWG URL); so does this.

Invariants: two spellings that open the same page have one target, as far as a browser decides that without asking.

Limitations: redirects are not followed, and what scripts build is not seen. At most ``MOST`` different addresses of one
message are read.
"""

from __future__ import annotations

import html
import posixpath
import re
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from urllib.parse import unquote

import idna

from mta.mail.address import AddressError, parse_domain
from policy.text.message_text import MessageText

MOST = 5000
LONGEST = 4000  # characters of an address that are read

_URL = re.compile(r"(?:https?:[/\\]*|[/\\]{2,})[^\s\"'<>`(){}]{1,4000}", re.IGNORECASE)
_PARTS = re.compile(r"(?:https?:[/\\]*|[/\\]{2,})([^/\\?#]{1,1000})([^?#]*)(\?[^#]*)?", re.IGNORECASE)
_NUMBER = re.compile(r"0x[0-9a-f]{0,16}|[0-9]{1,20}")
_DROPPED = re.compile(r"[\t\r\n]")


@dataclass(frozen=True, slots=True)
class LinkTarget:
    """``host``: lower-case A-labels or an IP address; ``path``: decoded, without its last slash; ``query`` with its
    question mark, "" without one."""

    host: str
    path: str = ""
    query: str = ""

    def __str__(self) -> str:
        return f"{self.host}{self.path}{self.query}"


@dataclass(frozen=True, slots=True)
class LinkTargets:
    """The targets of a message, each once; ``complete``: whether these are all."""

    targets: tuple[LinkTarget, ...]
    complete: bool = True


def targets_of(reading: MessageText) -> LinkTargets:
    """Return the targets of all links of a message."""
    read, found = set[str](), dict[LinkTarget, None]()
    for address in _addresses(reading):
        if address in read:
            continue
        if len(read) == MOST:
            return LinkTargets(tuple(found), complete=False)
        read.add(address)
        if target := target_of(address):
            found[target] = None
    return LinkTargets(tuple(found))


def target_of(address: str) -> LinkTarget | None:
    """Return the target of a web address; None for any other."""
    match = _PARTS.match(_DROPPED.sub("", address[:LONGEST]).strip())
    if match is None:
        return None
    host = host_of(match[1].rpartition("@")[2])
    if host is None:
        return None
    path = unquote(match[2]).replace("\\", "/")
    path = posixpath.normpath(path).rstrip("/") if path.strip("/") else ""
    return LinkTarget(host, "/" + path.lstrip("/") if path else "", match[3] or "")


def host_of(text: str) -> str | None:
    """Return a host as a browser reads it, with or without a port; None for what it could not open."""
    text = unquote(text).strip()
    if text.startswith("["):
        try:
            return str(IPv6Address(text[1:].partition("]")[0]))
        except ValueError:
            return None
    text = text.partition(":")[0]
    try:
        text = idna.uts46_remap(text, std3_rules=False).rstrip(".")
    except (idna.IDNAError, UnicodeError):
        return None
    if address := _ipv4(text):
        return address
    try:
        return parse_domain(text)
    except AddressError:
        return text.lower() if re.fullmatch(r"[a-z0-9_.-]{1,253}", text) and "." in text else None


def _number(part: str) -> int:
    if part.startswith("0x"):
        return int(part[2:] or "0", 16)
    return int(part, 8 if part.startswith("0") else 10)


def _ipv4(text: str) -> str | None:
    """Return an IPv4 address in any of its spellings (WHATWG URL, "IPv4 parser"); None for a name."""
    parts = text.lower().split(".")
    if len(parts) > 4 or not all(map(_NUMBER.fullmatch, parts)):
        return None
    try:
        *octets, rest = (_number(part) for part in parts)
        return str(IPv4Address(bytes(octets) + rest.to_bytes(4 - len(octets))))
    except (ValueError, OverflowError):
        return None


def _addresses(reading: MessageText) -> Iterator[str]:
    for view in reading.views:
        yield from (link.url for link in view.links)
    yield from (image.source for image in reading.images)
    for body in reading.bodies:
        yield from (match[0] for match in _URL.finditer(html.unescape(body) if "&" in body else body))

"""How hosts, addresses, domains and the names of DKIM keys are written."""

from __future__ import annotations

import re
from ipaddress import ip_address

_LABEL = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9])?"
_NAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
SUFFIX = re.compile(rf"\.?{_LABEL}(?:\.{_LABEL})*")
HOST = re.compile(r"(?:\[(?P<literal>[^\]]*)\]|(?P<name>[^:\[\]]+))(?::(?P<port>\d{1,5}))?")


def is_address(text: str | None) -> bool:
    """Return whether ``text`` is an IP address."""
    try:
        ip_address(text or "")
    except ValueError:
        return False
    return True


def is_name(text: str) -> bool:
    """Return whether ``text`` is a host name."""
    return len(text) <= 253 and _NAME.fullmatch(text) is not None and not text.rpartition(".")[2].isdigit()


def has_port(host: re.Match[str]) -> bool:
    """Return whether the port of a match of HOST, if any, is one."""
    return host["port"] is None or 0 < int(host["port"]) <= 65535


def dkim_record_name(selector: str, domain: str) -> str:
    """Return the name of the DNS record of a DKIM key (RFC 6376 3.6.2.1), without the dot at the end."""
    return f"{selector}._domainkey.{domain}"

"""MTA-STS: read the TXT record and the policy of a domain (RFC 8461 3).

Invariants: what is not exactly as the RFC has it is an error, with the reason; nothing is guessed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from mta.delivery.tls.tag_record import RecordError, values

MAX_AGE = 31_557_600  # seconds, RFC 8461 3.2
MAX_POLICY = 64 * 1024  # octets, the size that RFC 8461 3.3 suggests

_VERSION = "STSv1"
_ID = re.compile(r"[A-Za-z0-9]{1,32}")
_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,31}")
_PATTERN = re.compile(r"(?:\*\.)?(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.)*[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")


class StsError(ValueError):
    """Why a policy is invalid."""


class StsMode(Enum):
    """What is to happen to mail for a host that does not meet the policy: nothing; nothing, but it is reported; or it
    is not delivered there."""

    NONE = "none"
    TESTING = "testing"
    ENFORCE = "enforce"


@dataclass(frozen=True, slots=True)
class StsPolicy:
    """``mx``: patterns in lower case. ``max_age``: seconds for which it holds."""

    mode: StsMode
    mx: tuple[str, ...]
    max_age: int

    def allows(self, host: str) -> bool:
        """Return whether a host (lower case) is one of the policy; ``*`` stands for one label (RFC 8461 4.1)."""
        return host in self.mx or f"*.{host.partition('.')[2]}" in self.mx

    @property
    def lines(self) -> tuple[str, ...]:
        """The policy as TLS reports show it (RFC 8460 4.1)."""
        mx = (f"mx: {pattern}" for pattern in self.mx)
        return (f"version: {_VERSION}", f"mode: {self.mode.value}", *mx, f"max_age: {self.max_age}")


def record_name(domain: str) -> str:
    return f"_mta-sts.{domain}"


def policy_host(domain: str) -> str:
    return f"mta-sts.{domain}"


def record_id(texts: Iterable[str]) -> str | None:
    """Return the id in the TXT records of ``record_name``; None if none of them is about MTA-STS.

    Raises RecordError.
    """
    ids = values(texts, _VERSION, "id")
    if not ids:
        return None
    if len(ids) > 1:
        raise RecordError("the record has several ids")
    if not _ID.fullmatch(ids[0]):
        raise RecordError(f"invalid id {ids[0]!r} in the record")
    return ids[0]


def parse_policy(content: bytes) -> StsPolicy:
    """Read a policy. Raises StsError."""
    try:
        lines = content.decode().split("\n")
    except UnicodeDecodeError:
        raise StsError("the policy is not UTF-8") from None
    if lines[-1] == "":
        lines.pop()
    single: dict[str, str] = {}
    mx: list[str] = []
    for number, line in enumerate(lines, 1):
        key, colon, value = line.removesuffix("\r").rstrip(" \t").partition(":")
        value = value.strip(" \t")
        if not (colon and value and _KEY.fullmatch(key)):
            raise StsError(f"line {number} is not `key: value`: {line.strip()[:80]!r}")
        if key == "mx":
            mx.append(_mx_pattern(value, number))
        else:
            single.setdefault(key, value)  # of a key that is repeated the first counts (RFC 8461 3.2)
    if single.get("version") != _VERSION:
        raise StsError(f"version is {single.get('version', 'missing')!r} instead of {_VERSION!r}")
    policy = StsPolicy(_mode(single.get("mode")), tuple(dict.fromkeys(mx)), _max_age(single.get("max_age")))
    if not mx and policy.mode is not StsMode.NONE:
        raise StsError(f"mode {policy.mode.value} without mx")
    return policy


def _mx_pattern(text: str, number: int) -> str:
    pattern = text.lower().removesuffix(".")
    if len(pattern) > 253 or not _PATTERN.fullmatch(pattern):
        raise StsError(f"line {number}: mx {text[:80]!r} is neither a host name nor a pattern such as *.example.com")
    return pattern


def _mode(text: str | None) -> StsMode:
    try:
        return StsMode(text)
    except ValueError:
        raise StsError(f"mode is {text!r}; it must be none, testing or enforce") from None


def _max_age(text: str | None) -> int:
    if text is None or not re.fullmatch("[0-9]{1,10}", text) or int(text) > MAX_AGE:
        raise StsError(f"max_age is {text!r}; it must be 0 to {MAX_AGE} seconds")
    return int(text)

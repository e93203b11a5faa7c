"""TLS reports: read where a domain wants them, and write one (RFC 8460 3 and 4).

Invariants: a record that is not exactly as the RFC has it is no record.
"""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from urllib.parse import unquote, urlsplit

import orjson

from mta.delivery.tls.tag_record import RecordError, values
from mta.mail.address import Address, AddressError
from mta.mail.tls_session import SessionCount, SessionFailure

MAX_PLACES = 10  # report addresses of one domain that are used

_URI = re.compile(r"(mailto|https):[\x22-\x2B\x2D-\x3A\x3C-\x7E]+")  # without "!", "," and ";" (RFC 8460 3)


@dataclass(frozen=True, slots=True)
class ReportPlaces:
    """Where a domain wants reports: https URLs, addresses."""

    urls: tuple[str, ...] = ()
    addresses: tuple[Address, ...] = ()


def record_name(domain: str) -> str:
    return f"_smtp._tls.{domain}"


def report_places(texts: Iterable[str]) -> ReportPlaces | None:
    """Read the TXT records of ``record_name``; None if none of them is about TLS reports. Raises RecordError."""
    found = values(texts, "TLSRPTv1", "rua")
    if not found:
        return None
    places = [uri.strip(" \t") for uri in found[0].split(",")]
    return ReportPlaces(
        tuple(uri for uri in places[:MAX_PLACES] if _checked(uri).startswith("https:")),
        tuple(_address(uri) for uri in places[:MAX_PLACES] if uri.startswith("mailto:")),
    )


def _checked(uri: str) -> str:
    if not _URI.fullmatch(uri):
        raise RecordError(f"{uri!r} is neither a mailto nor an https URI")
    if uri.startswith("https:") and not urlsplit(uri).hostname:
        raise RecordError(f"{uri!r} has no host")
    return uri


def _address(uri: str) -> Address:
    try:
        return Address.parse(unquote(uri.removeprefix("mailto:").partition("?")[0]))
    except AddressError as error:
        raise RecordError(f"{uri!r}: {error}") from None


@dataclass(frozen=True, slots=True)
class TlsReport:
    """A day's report for one domain. ``organisation`` and ``contact``: who reports. ``id``: unique."""

    domain: str
    day: date
    policies: Sequence[SessionCount]
    organisation: str
    contact: str
    id: str

    def as_json(self) -> dict[str, Any]:
        """Return the report as RFC 8460 4.4 has it."""
        begin = datetime.combine(self.day, time(), UTC)
        return {
            "organization-name": self.organisation,
            "date-range": {
                "start-datetime": _timestamp(begin),
                "end-datetime": _timestamp(begin + timedelta(days=1, seconds=-1)),
            },
            "contact-info": self.contact,
            "report-id": self.id,
            "policies": [_policy(each) for each in self.policies],
        }

    def compressed(self) -> bytes:
        return gzip.compress(orjson.dumps(self.as_json()), mtime=0)

    def file_name(self, submitter: str) -> str:
        """``submitter``: our domain (RFC 8460 5.1)."""
        begin = int(datetime.combine(self.day, time(), UTC).timestamp())
        return f"{submitter}!{self.domain}!{begin}!{begin + 86399}.json.gz"


def _timestamp(when: datetime) -> str:
    return when.strftime("%Y-%m-%dT%H:%M:%SZ")


def _policy(count: SessionCount) -> dict[str, Any]:
    policy = count.policy
    described: dict[str, Any] = {"policy-type": policy.kind.value, "policy-domain": policy.domain}
    if policy.lines:
        described["policy-string"] = list(policy.lines)
    if policy.mx:
        described["mx-host"] = list(policy.mx)
    shown: dict[str, Any] = {
        "policy": described,
        "summary": {
            "total-successful-session-count": count.successful,
            "total-failure-session-count": count.failed,
        },
    }
    if count.failures:
        shown["failure-details"] = [_failure(*each) for each in count.failures.most_common()]
    return shown


def _failure(failure: SessionFailure, sessions: int) -> dict[str, Any]:
    fields = {
        "result-type": failure.result.value,
        "sending-mta-ip": failure.source,
        "receiving-mx-hostname": failure.host,
        "receiving-ip": failure.address,
        "failed-session-count": sessions,
        "failure-reason-code": failure.reason,
    }
    return {name: value for name, value in fields.items() if value != ""}

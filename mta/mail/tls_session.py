"""How TLS with a receiver went, in the words of TLS reports (RFC 8460 4)."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import date
from enum import Enum

MAX_FAILURES = 20  # different ones told of one policy and day


class TlsResult(Enum):
    """Result types of failures (RFC 8460 4.3)."""

    STARTTLS_NOT_SUPPORTED = "starttls-not-supported"
    CERTIFICATE_HOST_MISMATCH = "certificate-host-mismatch"
    CERTIFICATE_EXPIRED = "certificate-expired"
    CERTIFICATE_NOT_TRUSTED = "certificate-not-trusted"
    VALIDATION_FAILURE = "validation-failure"
    DNSSEC_INVALID = "dnssec-invalid"
    STS_POLICY_FETCH_ERROR = "sts-policy-fetch-error"
    STS_POLICY_INVALID = "sts-policy-invalid"
    STS_WEBPKI_INVALID = "sts-webpki-invalid"


@dataclass(frozen=True, slots=True)
class TlsFault:
    """What is wrong. ``text``: one line for the operator. ``in_handshake``: not about a certificate or a policy: TLS
    itself did not come about, and may at another time."""

    result: TlsResult
    text: str
    in_handshake: bool = False


class PolicyKind(Enum):
    """Policy types (RFC 8460 4.2)."""

    TLSA = "tlsa"
    STS = "sts"
    NONE = "no-policy-found"


@dataclass(frozen=True, slots=True)
class AppliedPolicy:
    """The policy that a session was held to. ``domain``: whose it is: for DANE that of the TLSA records. ``lines``: the
    policy as text. ``mx``: the host patterns of MTA-STS, the host for DANE."""

    kind: PolicyKind
    domain: str
    lines: tuple[str, ...] = ()
    mx: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SessionFailure:
    """A failed session, as a report tells of it. ``source``: our address. ``host`` and ``address``: the receiver's;
    empty if there was none."""

    result: TlsResult
    source: str = ""
    host: str = ""
    address: str = ""
    reason: str = ""


@dataclass(slots=True)
class SessionCount:
    """The sessions of a day with the hosts of a domain that were held to one policy."""

    day: date
    domain: str
    policy: AppliedPolicy
    successful: int = 0
    failed: int = 0
    failures: Counter[SessionFailure] = field(default_factory=Counter)

    def add(self, other: SessionCount) -> None:
        self.successful += other.successful
        self.failed += other.failed
        for failure, count in other.failures.items():
            if failure in self.failures or len(self.failures) < MAX_FAILURES:
                self.failures[failure] += count

"""DANE: compare a receiver's certificates with its TLSA records (RFC 6698, 7671, 7672).

The caller has seen to it that the records are DNSSEC-secure. What the operator of a receiver publishes is believed:
usage 3 names the key of the server, whatever the rest of its certificate says; usage 2 an authority, whose certificate
must have signed that of the server, which must be valid and for one of the server's names. Usages 0 and 1 are not for
SMTP (RFC 7672 3.1.3).

Limitations: with usage 2 the authority's certificate must be in the chain that the server sends (RFC 7671 5.2), or
whole in the record; a record with nothing but a bare key (2 1 0) finds it in the chain only. Chains are checked by
`cryptography`, which accepts neither RSA keys below 2,048 bits nor SHA-1.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum
from hashlib import sha256, sha512

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID
from cryptography.x509.verification import Criticality, ExtensionPolicy, Policy, PolicyBuilder, Store, VerificationError

from mta.mail.tls_session import TlsFault, TlsResult

MAX_RECORDS = 50  # of one host that are looked at


class TlsaUsage(IntEnum):
    """Certificate usages that SMTP has a use for."""

    AUTHORITY = 2  # DANE-TA
    SERVER = 3  # DANE-EE


class TlsaSelector(IntEnum):
    CERTIFICATE = 0
    KEY = 1  # SubjectPublicKeyInfo


class TlsaMatching(IntEnum):
    EXACT = 0
    SHA256 = 1
    SHA512 = 2


_DIGEST_SIZES = {TlsaMatching.SHA256: 32, TlsaMatching.SHA512: 64}


@dataclass(frozen=True, slots=True, order=True)
class Tlsa:
    """A TLSA record as it is, usable or not."""

    usage: int
    selector: int
    matching: int
    data: bytes

    @property
    def is_usable(self) -> bool:
        if (
            self.usage not in set(TlsaUsage)
            or self.selector not in set(TlsaSelector)
            or self.matching not in set(TlsaMatching)
        ):
            return False
        size = _DIGEST_SIZES.get(TlsaMatching(self.matching))
        return bool(self.data) if size is None else len(self.data) == size

    def matches(self, certificate: x509.Certificate) -> bool:
        if self.selector == TlsaSelector.CERTIFICATE:
            octets = certificate.public_bytes(Encoding.DER)
        else:
            octets = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        match self.matching:
            case TlsaMatching.SHA256:
                octets = sha256(octets).digest()
            case TlsaMatching.SHA512:
                octets = sha512(octets).digest()
        return octets == self.data

    def __str__(self) -> str:
        return f"{self.usage} {self.selector} {self.matching} {self.data.hex()}"


def usable(records: Iterable[Tlsa]) -> tuple[Tlsa, ...]:
    """Return the records that can be used; of several digests of the same thing the strongest (RFC 7671 9)."""
    able = sorted({record for record in records if record.is_usable})
    strongest = {(record.usage, record.selector): record.matching for record in able if record.matching}
    kept = [each for each in able if each.matching in (0, strongest.get((each.usage, each.selector)))]
    return tuple(kept[:MAX_RECORDS])


def verify(chain: Sequence[bytes], records: Sequence[Tlsa], names: Sequence[str], now: datetime) -> TlsFault | None:
    """Return None if a server with this chain (DER, its own certificate first) is the one that ``records`` name.

    ``names``: those that an authority may have certified it for. ``now``: with a time zone.
    """
    try:
        certificates = [x509.load_der_x509_certificate(each) for each in chain]
        return _verify(certificates, records, names, now)
    except (ValueError, TypeError, x509.UnsupportedGeneralNameType) as error:  # what is in it cannot be read
        return TlsFault(TlsResult.VALIDATION_FAILURE, f"certificate unreadable: {error}")


def _verify(
    chain: list[x509.Certificate], records: Sequence[Tlsa], names: Sequence[str], now: datetime
) -> TlsFault | None:
    if not chain:
        return TlsFault(TlsResult.VALIDATION_FAILURE, "the server has shown no certificate")
    server, *above = chain
    if any(record.usage == TlsaUsage.SERVER and record.matches(server) for record in records):
        return None
    authorities = list(_authorities(above, [record for record in records if record.usage == TlsaUsage.AUTHORITY]))
    if not authorities:
        return TlsFault(TlsResult.VALIDATION_FAILURE, "no TLSA record matches the certificate")
    if not server.not_valid_before_utc <= now <= server.not_valid_after_utc:
        since, until = server.not_valid_before_utc, server.not_valid_after_utc
        return TlsFault(TlsResult.CERTIFICATE_EXPIRED, f"certificate is valid from {since:%F %T} to {until:%F %T} UTC")
    checked = PolicyBuilder().store(Store(authorities)).time(now)
    try:
        checked.extension_policies(ca_policy=_ISSUER, ee_policy=_ANY).build_client_verifier().verify(server, above)
    except VerificationError as error:
        return TlsFault(TlsResult.CERTIFICATE_NOT_TRUSTED, f"not signed by the authority that TLSA names: {error}")
    if not any(matches_name(pattern, name) for pattern in certified_names(server) for name in names):
        text = f"certificate is not for {' or '.join(names)}"
        return TlsFault(TlsResult.CERTIFICATE_HOST_MISMATCH, text)
    return None


def _authorities(above: Iterable[x509.Certificate], records: Sequence[Tlsa]) -> Iterator[x509.Certificate]:
    """Yield the certificates that the records name: of the chain, or whole in a record."""
    for certificate in above:
        if any(record.matches(certificate) for record in records):
            yield certificate
    for record in records:
        if record.selector == TlsaSelector.CERTIFICATE and record.matching == TlsaMatching.EXACT:
            yield x509.load_der_x509_certificate(record.data)


def _may_sign(policy: Policy, certificate: x509.Certificate, usage: x509.KeyUsage | None) -> None:
    """Raise ValueError for an issuer whose key must not sign certificates (RFC 5280 4.2.1.3)."""
    if usage is not None and not usage.key_cert_sign:
        raise ValueError("the issuer's key is not for signing certificates")


# Mail's authorities are often private ones: their certificates need not be as the web wants them, but must be those of
# an authority. The names of the server are checked here, so the verifier "of a client" does, which leaves them alone.
_ANY = ExtensionPolicy.permit_all()
_ISSUER = (
    ExtensionPolicy.permit_all()
    .require_present(x509.BasicConstraints, Criticality.AGNOSTIC, None)
    .may_be_present(x509.KeyUsage, Criticality.AGNOSTIC, _may_sign)
)


def certified_names(certificate: x509.Certificate) -> list[str]:
    """Return the host names of a certificate; the common name only if there are no others (RFC 7672 3.2.3)."""
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        names = extension.value.get_values_for_type(x509.DNSName)
    except x509.ExtensionNotFound:
        names = []
    if not names:
        names = [str(each.value) for each in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    return [name.lower().removesuffix(".") for name in names]


def matches_name(pattern: str, name: str) -> bool:
    """Return whether a certified name covers a host; ``*`` stands for the whole first label (RFC 6125 6.4.3)."""
    if pattern.startswith("*."):
        first, dot, rest = name.partition(".")
        return bool(first and dot) and rest == pattern[2:] and "." in rest
    return pattern == name

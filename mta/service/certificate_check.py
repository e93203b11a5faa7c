"""Is a certificate one that clients will accept, and does its key belong to it?

Limitations: whether the chain leads to an authority that clients trust is not checked: a private one may be meant.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key
from cryptography.x509.oid import NameOID

from config.toml import Mistake, MistakeLevel
from config.toml_positions import KeyPath

SOON = timedelta(days=7)


def certificate_mistakes(
    table: KeyPath, certificate: Path, key: Path, *, host: str | None, host_key: str, now: datetime
) -> Iterator[Mistake]:
    """Yield what is wrong with the pair that ``table`` names. ``host``: the name that clients ask for, and the key that
    says so."""
    place, key_place = (*table, "certificate"), (*table, "key")
    try:
        chain = x509.load_pem_x509_certificates(certificate.read_bytes())
    except OSError as error:
        yield Mistake(place, f"{certificate}: cannot be read: {error.strerror}")
        return
    except ValueError:
        yield Mistake(place, f"{certificate}: holds no certificate in PEM format (-----BEGIN CERTIFICATE-----)")
        return
    public = _public_key(key)
    if isinstance(public, str):
        yield Mistake(key_place, f"{key}: {public}")
    elif public != _octets(chain[0].public_key()):
        yield Mistake(key_place, f"{key}: {_mismatch(chain, public, certificate)}")
    for n, each in enumerate(chain):
        yield from _dates(place, certificate, each, first=n == 0, now=now)
    if host and not _covers(chain[0], host):
        names = ", ".join(_names(chain[0])[:5]) or "no name"
        yield Mistake(place, f"{certificate}: is for {names}, not for {host} ({host_key})", level=MistakeLevel.NOTE)


def _public_key(key: Path) -> bytes | str:
    """Return the public part of a private key, or why there is none."""
    try:
        return _octets(load_pem_private_key(key.read_bytes(), password=None).public_key())
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    except TypeError:
        return "is encrypted with a passphrase; write it without one"
    except (ValueError, UnsupportedAlgorithm):
        return "holds no private key in PEM format (-----BEGIN PRIVATE KEY-----)"


def _octets(key: PublicKeyTypes) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _mismatch(chain: list[x509.Certificate], public: bytes, certificate: Path) -> str:
    if any(_octets(each.public_key()) == public for each in chain[1:]):
        return f"belongs to a later certificate in {certificate}; the server's own must come first"
    return f"does not belong to {certificate}; name the key that the certificate was made for"


def _dates(
    place: KeyPath, file: Path, certificate: x509.Certificate, *, first: bool, now: datetime
) -> Iterator[Mistake]:
    begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    which = "" if first else f"the certificate of {_subject(certificate)} in its chain "
    if end <= now:
        text = f"{which}expired {end:%Y-%m-%d}; clients that verify it will not send"
    elif begin > now:
        text = f"{which}is not valid before {begin:%Y-%m-%d %H:%M} UTC; clients that verify it will not send"
    elif end - now < SOON:
        text = f"{which}expires {end:%Y-%m-%d %H:%M} UTC; renew it"
    else:
        return
    yield Mistake(place, f"{file}: {text}", level=MistakeLevel.NOTE)


def _names(certificate: x509.Certificate) -> list[str]:
    """Return the names that clients look at (RFC 9525 6.3); if there are none, the common name, to be shown."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return [f"{_subject(certificate)} (as common name only)"]
    return names.get_values_for_type(x509.DNSName)


def _subject(certificate: x509.Certificate) -> str:
    common = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(common[0].value) if common else certificate.subject.rfc4514_string()


def _covers(certificate: x509.Certificate, host: str) -> bool:
    host = host.lower()
    parent = f"*.{host.partition('.')[2]}"
    return any(name.lower().rstrip(".") in (host, parent) for name in _names(certificate))

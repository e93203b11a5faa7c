"""TLS for listeners: the configured certificate, or a self-signed one for trials.

Invariants: another certificate than the configured one is never used, nor a private key that other users of the machine
can read.

Limitations: a self-signed certificate proves nothing; it only encrypts. It is made again when it has expired or the
host name has changed.
"""

from __future__ import annotations

import fcntl
import os
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from config.schema import Certificate

SELF_SIGNED_DAYS = 825
_VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}


class CertificateError(Exception):
    """Why the certificate cannot be used, and how to fix it."""


def server_context(certificate: Certificate, *, hostname: str, data_dir: Path) -> ssl.SSLContext:
    """Return what listeners need for TLS. Raises CertificateError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = _VERSIONS[certificate.minimum_version]
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION | ssl.OP_CIPHER_SERVER_PREFERENCE
    if certificate.certificate:
        chain, key = certificate.certificate, certificate.key or certificate.certificate
        _check_mode(key)
    else:
        chain = key = self_signed(hostname, data_dir)
    try:
        context.load_cert_chain(chain, key, password="")  # an encrypted key is an error, not a prompt
    except (OSError, ssl.SSLError) as error:
        raise CertificateError(
            f"submission.tls: {chain} and {key} cannot be used: {error}; give a PEM chain and its private key"
        ) from None
    return context


def self_signed(hostname: str, data_dir: Path) -> Path:
    """Return a PEM file with a key and a certificate for ``hostname``, made if there is none.

    Raises CertificateError.
    """
    path = self_signed_path(data_dir)
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _locked(path.parent):  # of workers that start together one makes it; OpenSSL reads the file twice
            if not _is_good(path, hostname):
                draft = path.with_name(f"{path.name}.new")
                draft.unlink(missing_ok=True)
                with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                    file.write(_make(hostname))
                draft.replace(path)
    except OSError as error:
        raise CertificateError(f"cannot keep a self-signed certificate in {path.parent}: {error}") from None
    return path


def self_signed_path(data_dir: Path) -> Path:
    return data_dir / "tls" / "self-signed.pem"


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    """Keep other processes from doing the same in ``directory``."""
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _check_mode(key: Path) -> None:
    try:
        mode = key.stat().st_mode
    except OSError as error:
        raise CertificateError(f"submission.tls.key: {key}: {error.strerror}") from None
    if mode & 0o007:
        raise CertificateError(f"submission.tls.key: {key} is readable by all users; run `chmod 0600 {key}`")


def _is_good(path: Path, hostname: str) -> bool:
    try:
        certificate = x509.load_pem_x509_certificate(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return False
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    current = certificate.not_valid_after_utc > datetime.now(UTC) + timedelta(days=1)
    return current and [name.value for name in names] == [hostname[:64]]


def _make(hostname: str) -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, hostname[:64])])
    now = datetime.now(UTC)
    names = [
        *(x509.DNSName(host) for host in dict.fromkeys((hostname, "localhost"))),
        *(x509.IPAddress(ip_address(address)) for address in ("127.0.0.1", "::1")),
    ]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=SELF_SIGNED_DAYS))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return private + certificate.public_bytes(serialization.Encoding.PEM)

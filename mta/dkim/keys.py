"""Private keys for DKIM: made, read from PEM and from the files of the configuration, checked.

RSA (RFC 6376, sizes by RFC 8301 3.2) and Ed25519 (RFC 8463). What a verifier must not accept is an error here (RSA
below 1024 bits), what it need not accept is a warning (RSA below 2048 or above 4096 bits).

Invariants: no key material is put into an exception, a log line or a ``repr``: errors say which file or row, what is
wrong with it and how to fix it, and drop the library's own error.
Limitations: a passphrase on a PEM file is not supported: the service must start unattended. Key files are read when the
service starts and when its configuration is reloaded, not when a file changes.
"""

from __future__ import annotations

import os
import pwd
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import cast

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, utils
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from config.schema import SigningKeySettings, SigningSettings
from config.toml import ConfigError
from mta.mail.address import AddressError, parse_domain

NEW_RSA_BITS = 2048
MIN_RSA_BITS = 1024  # below, verifiers must not accept the signature: RFC 8301 3.2
MAX_RSA_BITS = 4096  # above, verifiers need not: RFC 8301 3.2
MAX_FILE = 65_536  # octets of a PEM file

_SELECTOR = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)*")
_PKCS1 = padding.PKCS1v15()
_DIGEST = utils.Prehashed(hashes.SHA256())


class KeyUnusable(ValueError):
    """A key that cannot sign; the text names the file or row and says how to fix it."""


class Algorithm(Enum):
    """The ``a=`` tag."""

    RSA = "rsa-sha256"
    ED25519 = "ed25519-sha256"

    @property
    def key_type(self) -> str:
        """The ``k=`` tag of the key record (RFC 6376 3.6.1, RFC 8463 4.2)."""
        return self.value.removesuffix("-sha256")


@dataclass(frozen=True, slots=True, eq=False)
class SigningKey:
    """A private key and its place. ``domain``, ``selector``: lower-case A-labels. ``source``: named in messages."""

    domain: str
    selector: str
    private: RSAPrivateKey | Ed25519PrivateKey = field(repr=False)
    source: str
    algorithm: Algorithm = field(init=False, repr=False)  # kept: it is needed for each signature

    def __post_init__(self) -> None:
        algorithm = Algorithm.ED25519 if isinstance(self.private, Ed25519PrivateKey) else Algorithm.RSA
        object.__setattr__(self, "algorithm", algorithm)

    @property
    def bits(self) -> int:
        """Length of the RSA modulus; 256 for Ed25519."""
        return 256 if isinstance(self.private, Ed25519PrivateKey) else self.private.key_size

    def sign(self, digest: bytes) -> bytes:
        """Sign a SHA-256 digest (RFC 8017 8.2 for RSA; RFC 8463 3: Ed25519 signs the digest itself)."""
        if self.algorithm is Algorithm.RSA:
            return cast(RSAPrivateKey, self.private).sign(digest, _PKCS1, _DIGEST)
        return cast(Ed25519PrivateKey, self.private).sign(digest)

    def public_octets(self) -> bytes:
        """Return what ``p=`` holds: SubjectPublicKeyInfo for RSA, the 32 bare octets for Ed25519 (RFC 8463 4.2).

        RFC 6376 3.6.1 names RSAPublicKey only; SubjectPublicKeyInfo is what its appendix C makes, what is published
        everywhere, and the only form that OpenDKIM reads (erratum 3017).
        """
        public = self.private.public_key()
        if isinstance(self.private, Ed25519PrivateKey):
            return public.public_bytes(Encoding.Raw, PublicFormat.Raw)
        return public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)

    def warning(self) -> str | None:
        """Return what an operator should fix although the key works, or None."""
        if self.algorithm is Algorithm.RSA and self.bits < NEW_RSA_BITS:
            return f"{self.source}: RSA with {self.bits} bits is weak; replace it by one of {NEW_RSA_BITS} bits"
        if self.algorithm is Algorithm.RSA and self.bits > MAX_RSA_BITS:
            return f"{self.source}: RSA with {self.bits} bits; receivers need not verify more than {MAX_RSA_BITS}"
        return None


def parse_selector(text: str) -> str:
    """Return a selector in lower case (RFC 6376 3.1: labels joined by dots). Raises KeyUnusable."""
    selector = text.lower()
    if len(selector) > 190 or not _SELECTOR.fullmatch(selector):
        raise KeyUnusable(f"{text!r} is not a selector: letters, digits and hyphens, in parts joined by dots")
    return selector


def new_pem(algorithm: Algorithm) -> bytes:
    """Make a private key, as unencrypted PKCS #8 PEM: RSA of NEW_RSA_BITS bits, or Ed25519."""
    private: RSAPrivateKey | Ed25519PrivateKey
    if algorithm is Algorithm.RSA:
        private = generate_private_key(public_exponent=65537, key_size=NEW_RSA_BITS)
    else:
        private = Ed25519PrivateKey.generate()
    return private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def parse_key(pem: bytes, *, domain: str, selector: str, source: str, trusted: bool = False) -> SigningKey:
    """Return the key in ``pem`` (PKCS #1 or PKCS #8). Raises KeyUnusable, whose text begins with ``source``.

    ``trusted``: made by us or checked before, so it is not proved again that the numbers of an RSA key belong together,
    which takes 35 ms.
    """
    try:
        private = load_pem_private_key(pem, password=None, unsafe_skip_rsa_key_validation=trusted)
    except TypeError:
        raise KeyUnusable(f"{source}: is encrypted with a passphrase; write it without one") from None
    except (ValueError, UnsupportedAlgorithm):
        raise KeyUnusable(f"{source}: {_why_no_key(pem)}") from None
    if isinstance(private, RSAPrivateKey):
        if private.key_size < MIN_RSA_BITS:
            raise KeyUnusable(
                f"{source}: RSA with {private.key_size} bits; receivers must not accept less than {MIN_RSA_BITS} "
                f"(RFC 8301), make one of {NEW_RSA_BITS} bits"
            )
        return SigningKey(domain, selector, private, source)
    if isinstance(private, Ed25519PrivateKey):
        return SigningKey(domain, selector, private, source)
    kind = type(private).__name__.lstrip("_").removesuffix("PrivateKey")
    raise KeyUnusable(f"{source}: is a key of the kind {kind}; DKIM knows RSA and Ed25519 only")


def _why_no_key(pem: bytes) -> str:
    if b"PUBLIC KEY-----" in pem:
        return "is a public key; the private key is needed"
    if b"CERTIFICATE-----" in pem:
        return "is a certificate; the private key is needed"
    if b"BEGIN OPENSSH PRIVATE KEY-----" in pem:
        return "is in the format of OpenSSH; make the key with `openssl genpkey`"
    if b"PRIVATE KEY-----" not in pem:
        return "is not a private key in PEM format (-----BEGIN PRIVATE KEY-----)"
    return "holds a private key that is damaged, or of a kind or size that cannot be used"


def read_key_file(path: Path, *, domain: str, selector: str, uid: int | None, trusted: bool = False) -> SigningKey:
    """Read a PEM file that only its owner, the service's user ``uid`` if known, can read. Raises KeyUnusable.

    The checks are made on the open file: the target of a symbolic link counts, and it cannot be swapped in between.
    """
    source = str(path)
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise KeyUnusable(f"{source}: cannot be read: {error.strerror}") from None
    try:
        _check_owner(os.fstat(descriptor), source, uid)
        pem = os.read(descriptor, MAX_FILE + 1)
    except OSError as error:
        raise KeyUnusable(f"{source}: cannot be read: {error.strerror}") from None
    finally:
        os.close(descriptor)
    if len(pem) > MAX_FILE:
        raise KeyUnusable(f"{source}: is larger than {MAX_FILE} octets; that is no key")
    return parse_key(pem, domain=domain, selector=selector, source=source, trusted=trusted)


def _check_owner(status: os.stat_result, source: str, uid: int | None) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise KeyUnusable(f"{source}: is not a regular file")
    if status.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        mode = stat.S_IMODE(status.st_mode)
        raise KeyUnusable(f"{source}: has mode {mode:04o}, so others than its owner can use it; chmod 600 it")
    if uid is not None and status.st_uid != uid:
        raise KeyUnusable(f"{source}: belongs to user {status.st_uid}, the service runs as user {uid}; chown it")


def read_key_files(settings: SigningSettings, user: str | None = None) -> list[SigningKey]:
    """Read the keys that the configuration names, in its order. Raises ConfigError with every mistake.

    ``user``: as whom the service runs (``server.user``), which counts for root only: other users cannot change it.
    That an RSA key is sound was found out by ``key_file_faults``.
    """
    uid = _uid(user)
    read = [_read_configured(entry, uid, trusted=True) for entry in settings.keys]
    mistakes = [f"signing.keys: {each}" for each in read if isinstance(each, KeyUnusable)]
    if mistakes:
        raise ConfigError(mistakes)
    return [each for each in read if isinstance(each, SigningKey)]


def key_file_faults(settings: SigningSettings, user: str | None = None) -> Iterator[tuple[int, str]]:
    """Yield which of the configured keys cannot be used, by number, and why. Weak ones cannot: a new key costs nothing.

    Whose a file is is not looked at if there is no ``user``.
    """
    try:
        uid: int | None = _uid(user)
    except ConfigError:
        uid = None
    for n, entry in enumerate(settings.keys):
        match _read_configured(entry, uid):
            case KeyUnusable() as error:
                yield n, str(error)
            case SigningKey() as key if key.algorithm is Algorithm.RSA and key.bits < NEW_RSA_BITS:
                yield n, key.warning() or ""


def _read_configured(entry: SigningKeySettings, uid: int | None, *, trusted: bool = False) -> SigningKey | KeyUnusable:
    try:
        domain, selector = parse_domain(entry.domain), parse_selector(entry.selector)
        return read_key_file(entry.file, domain=domain, selector=selector, uid=uid, trusted=trusted)
    except AddressError as error:
        return KeyUnusable(f"domain {entry.domain!r}: {error}")
    except KeyUnusable as error:
        return error


def _uid(user: str | None) -> int:
    if user is None or os.geteuid() != 0:
        return os.geteuid()
    try:
        return pwd.getpwnam(user).pw_uid
    except KeyError:
        raise ConfigError([f"server.user: there is no user {user!r} on this machine"]) from None

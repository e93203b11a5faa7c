"""The installation's secret, and the keys derived from it.

One file holds 32 random octets. All secret values come from it: the key under which addresses are hashed for
suppression, and the key that seals DKIM keys in the database.

Invariants: a secret never appears in ``repr``, an exception or a log.

Limitations: if the file is lost, sealed keys are lost and suppressions no longer match. There is no rotation.
"""

from __future__ import annotations

import hashlib
import os
import stat
import tempfile
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from mta.mail.address import Address

PLACEHOLDER_DOMAIN = "erased.invalid"

OCTETS = 32
_NONCE = 12  # octets, NIST SP 800-38D 5.2.1.1


class SecretError(ValueError):
    """Why a secret file cannot be used, or a sealed value cannot be opened."""


class Secrets:
    """Keys by purpose. Equal on all machines of one installation, because the file is."""

    __slots__ = ("_address_key", "_mailbox_key", "_root", "_seal", "_sketch_key")

    def __init__(self, root: bytes) -> None:
        if len(root) != OCTETS:
            raise SecretError(f"the installation's secret has {OCTETS} octets, not {len(root)}")
        self._root = root
        self._address_key, self._mailbox_key = self.derive("address"), self.derive("mailbox")
        self._sketch_key = self.derive("list sketch")
        self._seal = AESGCM(self.derive("seal"))

    @classmethod
    def load_or_create(cls, path: Path) -> Secrets:
        """Read the file (64 hexadecimal digits, mode 0600), or make it. Raises SecretError, OSError.

        Of several processes that start at once one makes the file and all read the same.
        """
        if not path.exists():
            _create(path)
        return cls.load(path)

    @classmethod
    def load(cls, path: Path) -> Secrets:
        """Read the file. Raises SecretError, OSError."""
        mode = path.stat().st_mode
        if stat.S_IMODE(mode) & 0o077:
            raise SecretError(f"{path} can be read by others: chmod 600 {path}")
        try:
            root = bytes.fromhex(path.read_text(encoding="ascii").strip())
            return cls(root)
        except ValueError:
            raise SecretError(f"{path} must hold {OCTETS} octets as {2 * OCTETS} hexadecimal digits") from None

    @property
    def root(self) -> bytes:
        """The secret itself, for handing it to a child process."""
        return self._root

    def derive(self, purpose: str) -> bytes:
        """32 octets for one purpose; keys of different purposes say nothing of each other."""
        return hashlib.blake2b(purpose.encode(), digest_size=32, key=self._root, person=b"imprimatur key").digest()

    def address_key(self, address: Address) -> bytes:
        """16 octets, equal for all spellings of one mailbox; without the secret nobody can tell which mailbox."""
        return hashlib.blake2b(address.key.encode(), digest_size=16, key=self._address_key).digest()

    def mailbox_key(self, mailbox: str) -> bytes:
        """16 octets for what ``policy.permission.mailbox.mailbox_of`` returns."""
        return hashlib.blake2b(mailbox.encode(), digest_size=16, key=self._mailbox_key).digest()

    def sketch_hash(self, address_key: bytes) -> int:
        """64 bits for the sketches of lists: two of them can be compared, and nothing else be learnt."""
        return int.from_bytes(hashlib.blake2b(address_key, digest_size=8, key=self._sketch_key).digest())

    def seal(self, plain: bytes) -> bytes:
        """``plain``, encrypted and authenticated (AES-256-GCM): nonce, then ciphertext with its tag."""
        nonce = os.urandom(_NONCE)
        return nonce + self._seal.encrypt(nonce, plain, None)

    def unseal(self, sealed: bytes) -> bytes:
        """What was sealed. Raises SecretError if it was altered or sealed under another secret."""
        try:
            return self._seal.decrypt(sealed[:_NONCE], sealed[_NONCE:], None)
        except (InvalidTag, ValueError):
            raise SecretError("a sealed key does not open: it was sealed under another secret file") from None


def address_placeholder(address_key: bytes) -> str:
    """Return what is shown where an address was erased or is known by its keyed hash only: an address itself, so that
    code that parses it still works."""
    return f"{address_key.hex()}@{PLACEHOLDER_DOMAIN}"


def _create(path: Path) -> None:
    """Write a fresh secret beside its place, then link it there: it appears whole, and the first one stays."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, half = tempfile.mkstemp(dir=path.parent, prefix=f"{path.name}.")  # mode 0600
    with open(descriptor, "w") as file:
        file.write(os.urandom(OCTETS).hex() + "\n")
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(half, path)
    except FileExistsError:
        pass
    finally:
        os.unlink(half)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)

"""Private keys: what is taken, what is refused and in which words."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed448, rsa
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat

from mta.dkim.keys import (
    Algorithm,
    KeyUnusable,
    SigningKey,
    new_pem,
    parse_key,
    parse_selector,
    read_key_file,
)

RSA_PEM = new_pem(Algorithm.RSA)
ED25519_PEM = new_pem(Algorithm.ED25519)


def parse(pem: bytes) -> SigningKey:
    return parse_key(pem, domain="example.com", selector="s1", source="keys/s1.pem")


def pem_of(private: object, form: PrivateFormat = PrivateFormat.PKCS8, secret: bytes | None = None) -> bytes:
    encryption = BestAvailableEncryption(secret) if secret else NoEncryption()
    return private.private_bytes(Encoding.PEM, form, encryption)  # type: ignore[attr-defined]


def key_file(folder: Path, pem: bytes = ED25519_PEM, mode: int = 0o600) -> Path:
    path = folder / "s1.pem"
    path.write_bytes(pem)
    path.chmod(mode)
    return path


def read(path: Path, uid: int | None = None) -> SigningKey:
    return read_key_file(path, domain="example.com", selector="s1", uid=os.geteuid() if uid is None else uid)


def test_new_keys_are_rsa_2048_and_ed25519() -> None:
    assert (parse(RSA_PEM).algorithm, parse(RSA_PEM).bits) == (Algorithm.RSA, 2048)
    assert parse(ED25519_PEM).algorithm is Algorithm.ED25519
    assert parse(RSA_PEM).warning() is None
    assert parse(ED25519_PEM).warning() is None


@pytest.mark.parametrize("form", [PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL])
def test_both_pem_forms_are_read_with_any_line_ends(form: PrivateFormat) -> None:
    pem = pem_of(rsa.generate_private_key(65537, 2048), form)
    assert parse(pem).public_octets() == parse(pem.replace(b"\n", b"\r\n")).public_octets()


@pytest.mark.parametrize(("bits", "words"), [(1024, "is weak"), (1536, "is weak"), (4160, "need not verify")])
def test_unusual_sizes_sign_with_a_warning(bits: int, words: str) -> None:
    warning = parse(pem_of(rsa.generate_private_key(65537, bits))).warning()
    assert warning is not None
    assert f"{bits} bits" in warning
    assert words in warning


def test_rsa_below_1024_bits_is_refused() -> None:
    made = subprocess.run(["openssl", "genrsa", "768"], capture_output=True, check=False)
    if made.returncode:
        pytest.skip("this openssl makes no short keys")
    with pytest.raises(KeyUnusable, match=r"^keys/s1\.pem: ") as refused:
        parse(made.stdout)
    assert made.stdout.split(b"\n")[1].decode() not in str(refused.value)


@pytest.mark.parametrize(
    ("private", "kind"),
    [(ec.generate_private_key(ec.SECP256R1()), "EC"), (ed448.Ed448PrivateKey.generate(), "Ed448")],
)
def test_other_kinds_of_key_are_refused(private: object, kind: str) -> None:
    with pytest.raises(KeyUnusable, match=rf"^keys/s1\.pem: is a key of the kind {kind}; .* RSA and Ed25519"):
        parse(pem_of(private))


@pytest.mark.parametrize(
    ("pem", "words"),
    [
        (b"", "is not a private key in PEM format"),
        (b"c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0\n", "is not a private key in PEM format"),
        (b"-----BEGIN PUBLIC KEY-----\nc2VjcmV0\n-----END PUBLIC KEY-----\n", "is a public key"),
        (b"-----BEGIN CERTIFICATE-----\nc2VjcmV0\n-----END CERTIFICATE-----\n", "is a certificate"),
        (b"-----BEGIN OPENSSH PRIVATE KEY-----\nc2VjcmV0\n-----END OPENSSH PRIVATE KEY-----\n", "format of OpenSSH"),
        (ED25519_PEM.replace(b"MC4C", b"MC5C"), "is damaged"),
        (RSA_PEM[:800] + b"\n-----END PRIVATE KEY-----\n", "is damaged"),
        (pem_of(rsa.generate_private_key(65537, 1024), secret=b"x"), "is encrypted with a passphrase"),
    ],
)
def test_errors_name_the_file_and_the_reason_and_hold_no_key(pem: bytes, words: str) -> None:
    with pytest.raises(KeyUnusable) as refused:
        parse(pem)
    said = str(refused.value)
    assert said.startswith("keys/s1.pem: ")
    assert words in said
    assert refused.value.__cause__ is None
    assert refused.value.__suppress_context__
    for line in pem.decode().splitlines():
        assert line.startswith("-----") or line[:16] not in said or not line


def test_nothing_shown_of_a_key_is_secret() -> None:
    assert repr(parse(ED25519_PEM)) == "SigningKey(domain='example.com', selector='s1', source='keys/s1.pem')"


def test_a_file_of_its_owner_alone_is_read(tmp_path: Path) -> None:
    key = read(key_file(tmp_path))
    assert key.public_octets() == parse(ED25519_PEM).public_octets()


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o610, 0o644])
def test_a_file_that_others_can_use_is_refused(tmp_path: Path, mode: int) -> None:
    path = key_file(tmp_path, mode=mode)
    with pytest.raises(KeyUnusable, match=rf"s1\.pem: has mode {mode:04o}, .*; chmod 600 it"):
        read(path)


def test_what_a_symbolic_link_points_to_counts(tmp_path: Path) -> None:
    link = tmp_path / "link.pem"
    link.symlink_to(key_file(tmp_path, mode=0o644))
    with pytest.raises(KeyUnusable, match=r"link\.pem: has mode 0644"):
        read(link)
    (tmp_path / "s1.pem").chmod(0o600)
    assert read(link).selector == "s1"


def test_a_file_that_is_not_the_services_own_is_refused(tmp_path: Path) -> None:
    ours = os.geteuid()
    with pytest.raises(KeyUnusable, match=rf"belongs to user {ours}, the service runs as user {ours + 1}; chown it"):
        read(key_file(tmp_path), uid=ours + 1)


def test_what_is_no_readable_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe", 0o600)
    (tmp_path / "large").write_bytes(b"x" * 70_000)
    (tmp_path / "large").chmod(0o600)
    for name, words in (("none", "No such file"), ("pipe", "not a regular file"), ("large", "is larger than")):
        with pytest.raises(KeyUnusable, match=words):
            read(tmp_path / name)
    with pytest.raises(KeyUnusable, match="not a regular file"):
        read(tmp_path)


@pytest.mark.parametrize("text", ["s1", "2025", "20250101.news", "A-b", "s" * 63])
def test_selectors(text: str) -> None:
    assert parse_selector(text) == text.lower()


@pytest.mark.parametrize("text", ["", ".", "a.", ".a", "a..b", "-a", "a-", "a b", "a;b", "ü", "s" * 64, "a\n"])
def test_what_is_no_selector(text: str) -> None:
    with pytest.raises(KeyUnusable, match="is not a selector"):
        parse_selector(text)

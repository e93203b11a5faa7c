"""The installation's secret: one file, readable by us alone, from which every key follows."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mta.mail.address import Address
from mta.store.postgres.secrets import SecretError, Secrets


def test_the_file_is_made_once_and_read_again(tmp_path: Path) -> None:
    path = tmp_path / "new" / "secret"
    first = Secrets.load_or_create(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert Secrets.load_or_create(path).derive("x") == first.derive("x")
    assert list(path.parent.iterdir()) == [path]


def test_programs_that_start_at_once_agree(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as threads:
        made = list(threads.map(lambda _: Secrets.load_or_create(tmp_path / "secret").derive("x"), range(8)))
    assert len(set(made)) == 1


def test_a_file_that_others_may_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    Secrets.load_or_create(path)
    path.chmod(0o640)
    with pytest.raises(SecretError, match="chmod 600"):
        Secrets.load_or_create(path)


@pytest.mark.parametrize("text", ["", "abcd", "no hexadecimal digits", "00" * 33])
def test_a_broken_file_is_refused_without_showing_it(tmp_path: Path, text: str) -> None:
    path = tmp_path / "secret"
    path.write_text(text)
    path.chmod(0o600)
    with pytest.raises(SecretError) as raised:
        Secrets.load_or_create(path)
    assert not text or text not in str(raised.value)


def test_keys_differ_by_purpose_and_by_secret(secrets: Secrets) -> None:
    assert len({secrets.derive("a"), secrets.derive("b"), Secrets(bytes(32)).derive("a")}) == 3


def test_every_spelling_of_a_mailbox_has_one_key(secrets: Secrets) -> None:
    spellings = ["Ann@example.com", "ann@EXAMPLE.com", '"ann"@example.com']
    assert len({secrets.address_key(Address.parse(each)) for each in spellings}) == 1
    assert secrets.address_key(Address.parse("bob@example.com")) != secrets.address_key(Address.parse(spellings[0]))


def test_what_is_sealed_opens_again_only_whole_and_under_the_same_secret(secrets: Secrets) -> None:
    sealed = secrets.seal(b"private key")
    assert secrets.unseal(sealed) == b"private key"
    assert b"private" not in sealed
    assert secrets.seal(b"private key") != sealed
    for broken in (sealed[:-1] + bytes([sealed[-1] ^ 1]), sealed[:5], b""):
        with pytest.raises(SecretError):
            secrets.unseal(broken)
    with pytest.raises(SecretError):
        Secrets(bytes(32)).unseal(sealed)


def test_nothing_shows_the_secret(secrets: Secrets) -> None:
    assert bytes(range(32)).hex() not in repr(secrets)
    assert repr(secrets) == object.__repr__(secrets)

"""Which keys sign for which From domain."""

from __future__ import annotations

import os
import pwd
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import pytest
from structlog.testing import capture_logs

from config.schema import SigningKeySettings as KeyEntry
from config.schema import SigningSettings
from config.toml import ConfigError
from mta.dkim import keys
from mta.dkim.keyring import KeyRing
from mta.dkim.keys import Algorithm, SigningKey, new_pem, parse_key, read_key_files
from mta.store.accounts.dkim_keys import KeyState, StoredKey

RSA_PEM, ED25519_PEM = new_pem(Algorithm.RSA), new_pem(Algorithm.ED25519)
GOLDEN = Path(__file__).parents[3] / "golden/dkim"
NOW = datetime(2025, 3, 3, tzinfo=UTC)


def key(domain: str, selector: str, pem: bytes = ED25519_PEM) -> SigningKey:
    return parse_key(pem, domain=domain, selector=selector, source="file")


def row(domain: str, selector: str, pem: bytes = ED25519_PEM, state: KeyState = KeyState.ACTIVE) -> StoredKey:
    return StoredKey(domain, selector, "ed25519-sha256", state, pem, created_at=NOW, changed_at=NOW)


def selectors(ring: KeyRing, domain: str) -> list[str]:
    return [key.selector for key in ring.of(domain)]


def write(path: Path, pem: bytes, mode: int = 0o600) -> Path:
    path.write_bytes(pem)
    path.chmod(mode)
    return path


def test_the_domains_own_keys_come_before_those_of_its_parents() -> None:
    ring = KeyRing([key("example.com", "parent"), key("news.example.com", "own")])
    assert selectors(ring, "example.com") == ["parent"]
    assert selectors(ring, "news.example.com") == ["own"]
    assert selectors(ring, "a.b.news.example.com") == ["own"]
    assert selectors(ring, "shop.example.com") == ["parent"]


@pytest.mark.parametrize("domain", ["com", "example.org", "badexample.com", "xample.com", "example.com.evil.org", ""])
def test_no_other_domain_is_signed_for(domain: str) -> None:
    assert KeyRing([key("example.com", "s")]).of(domain) == ()


def test_rsa_signs_before_ed25519_and_selectors_are_in_order() -> None:
    ring = KeyRing([key("example.com", "b"), key("example.com", "c", RSA_PEM), key("example.com", "a", RSA_PEM)])
    assert selectors(ring, "example.com") == ["a", "c", "b"]


def test_stored_keys_come_and_go_and_files_stay() -> None:
    ring = KeyRing([key("example.com", "file")])
    ring.replace_stored([row("example.com", "new"), row("example.org", "other")])
    assert selectors(ring, "example.com") == ["file", "new"]
    ring.replace_stored([])
    assert selectors(ring, "example.com") == ["file"]
    assert ring.of("example.org") == ()


def test_only_active_keys_sign() -> None:
    ring = KeyRing()
    ring.replace_stored([row("example.com", state.value, state=state) for state in KeyState])
    assert selectors(ring, "example.com") == ["active"]


def test_a_stored_key_is_parsed_once_as_long_as_it_stays() -> None:
    ring = KeyRing()
    ring.replace_stored([row("example.com", "s")])
    (first,) = ring.of("example.com")
    ring.replace_stored([row("example.com", "s"), row("example.org", "t")])
    assert ring.of("example.com") == (first,)


def test_a_stored_key_that_cannot_be_read_leaves_the_others_signing() -> None:
    ring = KeyRing()
    with capture_logs() as logs:
        ring.replace_stored([row("example.com", "bad", b"rubbish"), row("example.com", "good")])
    assert selectors(ring, "example.com") == ["good"]
    assert [(line["log_level"], line["selector"]) for line in logs] == [("error", "bad")]
    assert "rubbish" not in str(logs)


def test_a_weak_key_signs_and_is_warned_of() -> None:
    ring = KeyRing()
    pem = (GOLDEN / "rfc8463-rsa.pem").read_bytes()
    with capture_logs() as logs:
        ring.replace_stored([row("example.com", "weak", pem)])
    assert selectors(ring, "example.com") == ["weak"]
    assert [line["log_level"] for line in logs] == ["warning"]
    assert "1024 bits is weak" in logs[0]["reason"]


def test_a_file_wins_over_the_store() -> None:
    ring = KeyRing([key("example.com", "s")])
    ring.replace_stored([row("example.com", "s", RSA_PEM)])
    assert [key.source for key in ring.of("example.com")] == ["file"]


def test_keys_of_the_configuration(tmp_path: Path) -> None:
    rsa, ed25519 = write(tmp_path / "rsa.pem", RSA_PEM), write(tmp_path / "ed.pem", ED25519_PEM)
    settings = SigningSettings(
        keys=[
            KeyEntry(domain="Example.COM", selector="R1", file=rsa),
            KeyEntry(domain="XN--bcher-kva.example", selector="2025", file=ed25519),
        ]
    )
    ring = KeyRing.of_files(settings)
    assert selectors(ring, "example.com") == ["r1"]
    assert selectors(ring, "xn--bcher-kva.example") == ["2025"]


def test_every_mistake_in_the_files_is_told_at_once(tmp_path: Path) -> None:
    settings = SigningSettings(
        keys=[
            KeyEntry(domain="example.com", selector="a", file=write(tmp_path / "open.pem", RSA_PEM, 0o644)),
            KeyEntry(domain="example.com", selector="b", file=tmp_path / "missing.pem"),
            KeyEntry(domain="example.com", selector="c", file=write(tmp_path / "good.pem", RSA_PEM)),
        ]
    )
    with pytest.raises(ConfigError) as refused:
        KeyRing.of_files(settings)
    first, second = refused.value.lines
    assert first.startswith(f"signing.keys: {tmp_path}/open.pem: has mode 0644")
    assert second.startswith(f"signing.keys: {tmp_path}/missing.pem: cannot be read: No such file")


def test_keys_of_reloaded_files_replace_those_of_before() -> None:
    ring = KeyRing([key("example.com", "old")])
    ring.configure([key("example.com", "new")])
    assert selectors(ring, "example.com") == ["new"]
    ring.configure([])
    assert ring.of("example.com") == ()


def test_root_checks_the_files_for_the_user_of_the_service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write(tmp_path / "s.pem", ED25519_PEM)
    settings = SigningSettings(keys=[KeyEntry(domain="example.com", selector="s", file=file)])
    owner = file.stat().st_uid
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(pwd, "getpwnam", lambda name: {"mta": SimpleNamespace(pw_uid=owner)}[name])
    assert [key.selector for key in read_key_files(settings, "mta")] == ["s"]
    monkeypatch.setattr(pwd, "getpwnam", lambda name: {"mta": SimpleNamespace(pw_uid=owner + 1)}[name])
    with pytest.raises(ConfigError, match="chown it"):
        read_key_files(settings, "mta")
    with pytest.raises(ConfigError, match="there is no user 'nobody-such'"):
        read_key_files(settings, "nobody-such")


def test_a_stored_key_costs_no_proof_that_its_numbers_belong_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes 35 ms a key, during which a process does nothing else."""
    proved: list[bool] = []
    load = keys.load_pem_private_key

    def counted(pem: bytes, password: None, *, unsafe_skip_rsa_key_validation: bool) -> object:
        proved.append(not unsafe_skip_rsa_key_validation)
        return load(pem, password, unsafe_skip_rsa_key_validation=unsafe_skip_rsa_key_validation)

    monkeypatch.setattr(keys, "load_pem_private_key", counted)
    KeyRing().replace_stored([row("example.com", "s", RSA_PEM)])
    key("example.com", "given", RSA_PEM)
    assert proved == [False, True]

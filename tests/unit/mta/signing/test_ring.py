"""Which keys sign for which From domain."""

from __future__ import annotations

from pathlib import Path

import pytest

from config.schema import Signing
from config.schema import SigningKey as KeyEntry
from mta.signing.keys import Algorithm, SigningKey, new_pem, parse_key
from mta.signing.ring import KeyFilesUnusable, KeyRing

RSA_PEM, ED25519_PEM = new_pem(Algorithm.RSA), new_pem(Algorithm.ED25519)


def key(domain: str, selector: str, pem: bytes = ED25519_PEM, source: str = "store") -> SigningKey:
    return parse_key(pem, domain=domain, selector=selector, source=source)


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
    ring.replace_stored([key("example.com", "new"), key("example.org", "other")])
    assert selectors(ring, "example.com") == ["file", "new"]
    ring.replace_stored([])
    assert selectors(ring, "example.com") == ["file"]
    assert ring.of("example.org") == ()


def test_a_file_wins_over_the_store() -> None:
    ring = KeyRing([key("example.com", "s", source="file")])
    ring.replace_stored([key("example.com", "s", RSA_PEM)])
    assert [key.source for key in ring.of("example.com")] == ["file"]


def test_keys_of_the_configuration(tmp_path: Path) -> None:
    rsa, ed25519 = write(tmp_path / "rsa.pem", RSA_PEM), write(tmp_path / "ed.pem", ED25519_PEM)
    settings = Signing(
        keys=[
            KeyEntry(domain="Example.COM", selector="R1", file=rsa),
            KeyEntry(domain="XN--bcher-kva.example", selector="2025", file=ed25519),
        ]
    )
    ring = KeyRing.of_files(settings)
    assert selectors(ring, "example.com") == ["r1"]
    assert selectors(ring, "xn--bcher-kva.example") == ["2025"]
    assert ring.warnings() == []


def test_every_mistake_in_the_files_is_told_at_once(tmp_path: Path) -> None:
    settings = Signing(
        keys=[
            KeyEntry(domain="example.com", selector="a", file=write(tmp_path / "open.pem", RSA_PEM, 0o644)),
            KeyEntry(domain="example.com", selector="b", file=tmp_path / "missing.pem"),
            KeyEntry(domain="example.com", selector="c", file=write(tmp_path / "good.pem", RSA_PEM)),
        ]
    )
    with pytest.raises(KeyFilesUnusable) as refused:
        KeyRing.of_files(settings)
    assert [mistake.partition(": ")[0] for mistake in refused.value.mistakes] == [
        str(tmp_path / "open.pem"),
        str(tmp_path / "missing.pem"),
    ]

"""Certificates of listeners, and the TLS they accept."""

from __future__ import annotations

import multiprocessing
import os
import ssl
import stat
from multiprocessing.queues import SimpleQueue
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from config.schema import Certificate
from mta.smtp_server import tls
from mta.smtp_server.tls import CertificateError, self_signed, server_context


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    issued = trustme.CA().issue_cert("mx.test")
    chain, key = tmp_path / "chain.pem", tmp_path / "key.pem"
    issued.private_key_pem.write_to_path(key)
    chain.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    key.chmod(0o600)
    return chain, key


def shake_hands(server: ssl.SSLContext, client: ssl.SSLContext) -> str | None:
    """The version agreed upon. Raises ssl.SSLError."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        client.wrap_bio(to_client, to_server, server_hostname="mx.test"),
        server.wrap_bio(to_server, to_client, server_side=True),
    ]
    for _ in range(4):
        for end in ends:
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                pass
    return ends[0].version()


def anyone() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def test_a_configured_certificate(files: tuple[Path, Path], tmp_path: Path) -> None:
    chain, key = files
    context = server_context(Certificate(certificate=chain, key=key), hostname="mx.test", data_dir=tmp_path)
    assert shake_hands(context, anyone()) == "TLSv1.3"
    assert not (tmp_path / "tls").exists()


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion")
@pytest.mark.parametrize(("minimum", "offered"), [("1.2", ssl.TLSVersion.TLSv1_1), ("1.3", ssl.TLSVersion.TLSv1_2)])
def test_older_tls_is_refused(files: tuple[Path, Path], tmp_path: Path, minimum: str, offered: ssl.TLSVersion) -> None:
    chain, key = files
    settings = Certificate(certificate=chain, key=key, minimum_version=minimum)
    context = server_context(settings, hostname="mx.test", data_dir=tmp_path)
    old = anyone()
    old.set_ciphers("ALL:@SECLEVEL=0")
    old.minimum_version = ssl.TLSVersion.TLSv1
    old.maximum_version = offered
    with pytest.raises(ssl.SSLError):
        shake_hands(context, old)


def test_a_key_that_everybody_can_read_is_refused(files: tuple[Path, Path], tmp_path: Path) -> None:
    chain, key = files
    key.chmod(0o644)
    with pytest.raises(CertificateError, match=f"{key} is readable by all users; run `chmod 0600 {key}`"):
        server_context(Certificate(certificate=chain, key=key), hostname="mx.test", data_dir=tmp_path)


@pytest.mark.parametrize("fault", ["missing", "swapped", "nonsense", "encrypted"])
def test_what_cannot_be_used_is_an_error_that_names_the_file(
    files: tuple[Path, Path], tmp_path: Path, fault: str
) -> None:
    chain, key = files
    match fault:
        case "missing":
            key.unlink()
        case "swapped":
            chain, key = key, chain
            key.chmod(0o600)
        case "nonsense":
            key.write_text("not a key")
        case "encrypted":
            private = serialization.load_pem_private_key(key.read_bytes(), None)
            form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
            key.write_bytes(private.private_bytes(*form, serialization.BestAvailableEncryption(b"x")))
    with pytest.raises(CertificateError, match=str(key)):
        server_context(Certificate(certificate=chain, key=key), hostname="mx.test", data_dir=tmp_path)


def test_without_a_certificate_one_is_made_and_kept(tmp_path: Path) -> None:
    first = self_signed("mx.test", tmp_path)
    octets = first.read_bytes()
    assert self_signed("mx.test", tmp_path).read_bytes() == octets
    assert stat.S_IMODE(first.stat().st_mode) == 0o600
    assert [path.name for path in first.parent.iterdir()] == ["self-signed.pem"]
    names = x509.load_pem_x509_certificate(octets).extensions.get_extension_for_class(x509.SubjectAlternativeName)
    assert "mx.test" in names.value.get_values_for_type(x509.DNSName)
    assert shake_hands(server_context(Certificate(), hostname="mx.test", data_dir=tmp_path), anyone()) == "TLSv1.3"
    assert self_signed("other.test", tmp_path).read_bytes() != octets


def test_an_expired_one_is_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tls, "SELF_SIGNED_DAYS", 0.5)
    octets = self_signed("mx.test", tmp_path).read_bytes()
    monkeypatch.undo()
    assert self_signed("mx.test", tmp_path).read_bytes() != octets


def test_where_none_can_be_kept_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "tls").write_text("a file")
    with pytest.raises(CertificateError, match=str(tmp_path / "tls")):
        self_signed("mx.test", tmp_path)
    assert os.path.isfile(tmp_path / "tls")


def test_workers_that_start_together_make_one_certificate(tmp_path: Path) -> None:
    """Processes, as they are: OpenSSL reads the file once for the certificate and once for the key."""
    context = multiprocessing.get_context("fork")
    for n in range(20):
        together, failures = context.Barrier(3), context.SimpleQueue()
        started = [
            context.Process(target=_load_together, args=(tmp_path / str(n), together, failures)) for _ in range(3)
        ]
        for process in started:
            process.start()
        assert [failures.get() for _ in started] == [None] * 3
        for process in started:
            process.join()


def _load_together(data_dir: Path, together: Barrier, failures: SimpleQueue[str | None]) -> None:
    together.wait()
    try:
        server_context(Certificate(), hostname="mx.test", data_dir=data_dir)
    except CertificateError as error:
        failures.put(str(error))
    else:
        failures.put(None)

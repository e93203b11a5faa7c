"""Two verifiers that are not ours, dkimpy and OpenDKIM, accept our signatures on a thousand odd messages."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import dkim
import pytest

from config.schema import SigningSettings
from mta.dkim import KeyRing, Signer
from mta.dkim.keys import Algorithm, new_pem, parse_key
from mta.dkim.records import record_name, record_text
from mta.mail.headers import Headers
from tests.odd_messages import odd_message

OPENDKIM = shutil.which("opendkim", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
MESSAGES = 1000
# OpenDKIM refuses to look at messages with these twice, or made up.
WITHOUT = frozenset({b"from", b"dkim-signature"})
KEYS = [
    parse_key(new_pem(algorithm), domain="example.com", selector=algorithm.key_type, source="test")
    for algorithm in (Algorithm.RSA, Algorithm.ED25519)
]
RECORDS = {record_name(key): record_text(key) for key in KEYS}


def signed(message: bytes) -> bytes:
    return (
        Signer(SigningSettings(), KeyRing(KEYS)).sign(
            headers := Headers.split(message), message[headers.size :], "example.com"
        )
        + message
    )


@pytest.fixture(scope="module")
def messages() -> list[bytes]:
    return [signed(odd_message(seed, without=WITHOUT)) for seed in range(MESSAGES)]


def opendkim(folder: Path, messages: list[bytes]) -> list[list[tuple[str, str]]]:
    """The verdicts of OpenDKIM's test mode on each message, the topmost signature first."""
    (folder / "keys").write_text("".join(f"{name} {text}\n" for name, text in RECORDS.items()))
    (folder / "opendkim.conf").write_text(f"TestPublicKeys {folder}/keys\n")
    names = [f"m{n}" for n in range(len(messages))]
    for name, message in zip(names, messages, strict=True):
        (folder / name).write_bytes(message)
    assert OPENDKIM is not None
    command = [OPENDKIM, "-x", f"{folder}/opendkim.conf", "-b", "v", "-vv", "-t", ",".join(names)]
    told = subprocess.run(command, cwd=folder, capture_output=True, check=False)
    results = re.findall(r"hname='Authentication-Results' hvalue='([^']*)'", told.stdout.decode("utf-8", "replace"))
    assert len(results) == len(messages), told.stderr[-500:]
    return [re.findall(r"dkim=(\w+) .*? ?header\.a=([a-z0-9-]+)", result) for result in results]


def test_dkimpy_verifies_both_signatures(messages: list[bytes]) -> None:
    records = {f"{name}.".encode(): text.encode() for name, text in RECORDS.items()}
    for seed, message in enumerate(messages):
        verifier = dkim.DKIM(message)
        for n in range(2):
            assert verifier.verify(n, dnsfunc=lambda name, timeout=5: records[name]), f"odd_message({seed})"


@pytest.mark.peer
@pytest.mark.skipif(OPENDKIM is None, reason="needs opendkim (Debian package opendkim)")
def test_opendkim_verifies_both_signatures(messages: list[bytes], tmp_path: Path) -> None:
    for seed, verdicts in enumerate(opendkim(tmp_path, messages)):
        assert verdicts == [("pass", "rsa-sha256"), ("pass", "ed25519-sha256")], f"odd_message({seed})"


@pytest.mark.peer
@pytest.mark.skipif(OPENDKIM is None, reason="needs opendkim (Debian package opendkim)")
@pytest.mark.parametrize("field", [b"Subject: more", b"To: eve@example.org", b"List-Unsubscribe-Post: x", b"cc:"])
def test_opendkim_notices_an_added_field(tmp_path: Path, field: bytes) -> None:
    message = signed(b"From: ann@example.com\r\nTo: bob@example.net\r\n\r\nHello\r\n")
    (verdicts,) = opendkim(tmp_path, [message.replace(b"From:", field + b"\r\nFrom:", 1)])
    assert [verdict for verdict, _ in verdicts] == ["fail", "fail"]

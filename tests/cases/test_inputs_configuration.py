"""Configurations that passed `mta check` and could not work, each with the line that is named now.

The cases were written when `public_url` stood in `[permission]`; their values are tried under today's keys.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from mta.cli.main import build

INPUTS = Path(__file__).parent / "inputs"


def check(path: Path) -> Result:
    return CliRunner().invoke(build("check"), ["check", "--config", str(path)])


@pytest.mark.parametrize(
    ("case", "told"),
    [
        ("09-public-url-without-scheme", "it is no URL: https:// is missing"),
        ("10-public-url-with-query", "it ends with a query (?), behind which no token can stand"),
    ],
)
def test_09_10_a_public_url_that_recipients_cannot_use(case: str, told: str, tmp_path: Path) -> None:
    old = tomllib.loads((INPUTS / f"{case}.toml").read_text())
    path = tmp_path / "mta.toml"
    path.write_text(f'[server]\nhostname = "mail.shop.example"\n[web.public]\nport = 8443\n'
                    f'url = "{old["permission"]["public_url"]}"\n')  # fmt: skip
    result = check(path)
    assert result.exit_code == 2
    assert result.stderr == f'{path}:5: web.public.url: {told}; expected e.g. "https://mail.example.com"\n'


def test_11_a_host_name_that_is_an_address(tmp_path: Path) -> None:
    path = Path(shutil.copy(INPUTS / "11-hostname-is-address.toml", tmp_path))
    result = check(path)
    assert result.exit_code == 2
    assert result.stderr.startswith(f'{path}:2: server.hostname: "192.0.2.44" is an address; a host name is expected')


def test_p6_an_expired_certificate_for_another_name(tmp_path: Path) -> None:
    made = [sys.executable, str(INPUTS / "P6-expired-certificate.py"), "cert.pem", "key.pem", "other.example.org"]
    subprocess.run(made, cwd=tmp_path, check=True)
    (tmp_path / "key.pem").chmod(0o600)
    path = tmp_path / "mta.toml"
    path.write_text('[server]\nhostname = "mail.shop.example"\n'
                    '[submission.tls]\ncertificate = "cert.pem"\nkey = "key.pem"\n')  # fmt: skip
    result = check(path)
    assert result.exit_code == 0, result.stderr
    place = f"{path}:4: submission.tls.certificate: {tmp_path}/cert.pem:"
    assert f"note: {place} expired 2025-01-01" in result.stdout
    assert f"note: {place} is for other.example.org, not for mail.shop.example (server.hostname)" in result.stdout


def test_p7_a_byte_order_mark_is_read(tmp_path: Path) -> None:
    path = Path(shutil.copy(INPUTS / "P7-toml-with-bom.toml", tmp_path))
    assert path.read_bytes().startswith(b"\xef\xbb\xbf")
    result = check(path)
    assert (result.exit_code, "mail.shop.example" in result.stdout) == (0, True), result.stderr

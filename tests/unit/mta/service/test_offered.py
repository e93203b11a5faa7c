"""The line "ready" names what can be used, and no secret."""

from __future__ import annotations

from pathlib import Path

from config.load import load_file
from mta.service.offered import offered


def test_ports_database_and_version(tmp_path: Path) -> None:
    file = tmp_path / "mta.toml"
    file.write_text(
        '[server]\ndata_dir = "data"\n[database]\nurl = "postgresql://u:hush@db.example:5433/mail?password=hush2"\n'
        '[[submission.listeners]]\naddress = "127.0.0.1"\nport = 2525\ntls = "none"\nauth_without_tls = "loopback"\n'
        "[web]\nport = 8030\n"
    )
    file.chmod(0o600)
    found = offered(load_file(file))
    assert found["submission"] == ["127.0.0.1:2525 none"]
    assert found["web"] == "127.0.0.1:8030"
    assert found["database"] == "db.example:5433/mail"
    assert found["version"]
    assert "hush" not in str(found)


def test_its_own_database_is_named_by_its_folder(tmp_path: Path) -> None:
    file = tmp_path / "mta.toml"
    file.write_text('[server]\ndata_dir = "data"\n')
    assert offered(load_file(file))["database"] == f"its own, in {tmp_path / 'data'}"

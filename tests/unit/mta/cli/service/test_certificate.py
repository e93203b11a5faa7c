"""``mta certificate``: a client can trust what the listeners show."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from mta.smtp_server.tls import self_signed
from mta.store.postgres.secrets import Secrets
from tests.unit.mta.cli.shell import Operator


@pytest.fixture
def operator(tmp_path: Path, secrets: Secrets) -> Operator:
    operator = Operator(tmp_path, "postgresql://nobody@localhost/none", secrets)
    text = operator.config.read_text()
    operator.config.write_text(
        text.replace("[server]\n", '[server]\nhostname = "mx.shop.example"\ndata_dir = "data"\n')
    )
    return operator


async def test_it_is_shown_and_written_without_its_key(operator: Operator) -> None:
    assert "there is none yet; `mta serve` makes it" in await operator.fails("certificate")
    path = self_signed("mx.shop.example", operator.folder / "data")
    out = operator.folder / "mta.crt"
    shown = await operator.json("certificate", "--out", str(out))
    assert shown["file"] == str(path)
    assert shown["names"] == ["mx.shop.example", "localhost", "127.0.0.1", "::1"]
    assert b"PRIVATE KEY" not in out.read_bytes()
    context = ssl.create_default_context(cafile=str(out))
    assert context.cert_store_stats()["x509"] == 1
    told = await operator.says("certificate")
    assert shown["sha256"] in told
    assert "self-signed" in told

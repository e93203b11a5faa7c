"""``mta consent findings``: what an operator learns of a list, and what waits until it is dismissed."""

from __future__ import annotations

import hashlib
from pathlib import Path

from mta.store.postgres.secrets import Secrets
from tests.unit.mta.cli.shell import Operator

HEADER = "address,topics,basis,given_at,document\n"
LINE = "{},offers,business_card,2026-01-01," + "ab" * 32 + "\n"


async def test_traps_in_a_list_hold_mailings_until_somebody_has_looked(
    tmp_path: Path, database_url: str, secrets: Secrets
) -> None:
    hashed = hashlib.sha256(b"ben@example.net").hexdigest()
    (tmp_path / "traps.txt").write_text(f"ann@example.net\n{hashed}\n")
    operator = Operator(tmp_path, database_url, secrets, '[policy]\ntrap_addresses = "traps.txt"\n')
    await operator.says("account", "add", "shop", "--domain", "shop.example")
    await operator.says("mailing", "add", "shop", "june", "--topic", "offers", "--list", "customers")
    (tmp_path / "list.csv").write_text(
        HEADER + "".join(LINE.format(f"{name}@example.net") for name in ("Ann", "ben", "carl"))
    )

    told = await operator.says("consent", "import", str(tmp_path / "list.csv"), "--account", "shop")
    assert "Finding 1: 2 trap addresses; the account's mailings wait for a decision (mta consent findings)." in told
    assert "ann@" not in told
    assert "mailings wait" in await operator.says("consent", "findings", "--account", "shop")
    assert "finding 1 about a list: 2 trap addresses" in await operator.fails("mailing", "confirm", "june")

    await operator.fails("consent", "dismiss-finding", "2", "--reason", "x")
    dismissed = await operator.says("consent", "dismiss-finding", "1", "--reason", "our own tests", "--by", "Rita")
    assert dismissed == "Finding 1 dismissed by Rita: our own tests.\n"
    assert "confirmed" in await operator.says("mailing", "confirm", "june")
    assert await operator.json("consent", "findings") == []
    (finding,) = await operator.json("consent", "findings", "--all")
    assert (finding["sign"], finding["dismissed_by"]) == ("traps", "Rita")


async def test_a_trap_file_with_mistakes_is_told(tmp_path: Path, database_url: str, secrets: Secrets) -> None:
    (tmp_path / "traps.txt").write_text("ann@example.net\nnobody\n")
    operator = Operator(tmp_path, database_url, secrets, '[policy]\ntrap_addresses = "traps.txt"\n')
    result = await operator.run("check")
    assert result.exit_code != 0
    assert "traps.txt: line 2: 'nobody' is neither an address nor a SHA-256" in result.output

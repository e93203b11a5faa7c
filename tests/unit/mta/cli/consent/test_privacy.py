"""``mta privacy``: told as JSON, erased only with a reason, and what stays is said."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mta.store.postgres.secrets import Secrets
from tests.unit.mta.cli.shell import Operator

GIVEN = ("topics=offers", "basis=business_card", "given_at=2026-01-01", "document=" + "0" * 64)


@pytest.fixture
async def operator(tmp_path: Path, database_url: str, secrets: Secrets) -> Operator:
    operator = Operator(tmp_path, database_url, secrets)
    await operator.says("account", "add", "shop", "--domain", "shop.example")
    await operator.says("consent", "add", "ann@example.net", *GIVEN, "--account", "shop")
    return operator


async def test_all_that_is_kept_is_written(operator: Operator) -> None:
    file = operator.folder / "ann.json"
    await operator.says("privacy", "export", "Ann@example.net", str(file))
    told = json.loads(file.read_text())
    assert told["consents"][0]["entries"][0]["evidence"]["document"] == "0" * 64
    assert told["suppressions"] == []
    assert json.loads(await operator.says("privacy", "export", "bob@example.net"))["consents"] == []


async def test_erasing_says_what_stays_and_until_when(operator: Operator) -> None:
    words = ("privacy", "erase", "ann@example.net", "--reason", "asked by letter")
    assert (await operator.run(*words)).exit_code == 1  # not confirmed
    told = await operator.says(*words, "--yes")
    assert "ann@example.net erased; its keyed hash keeps blocking marketing mail." in told
    assert "evidence of consent to shop (ledger entries 1, 2), as proof against claims, GDPR 17(3)(e)." in told
    listed = await operator.json("suppression", "list")
    assert all(each["address"].endswith("@erased.invalid") for each in listed)
    assert "chain intact" in await operator.says("consent", "verify")


async def test_the_proof_goes_too_if_wanted(operator: Operator) -> None:
    told = await operator.says("privacy", "erase", "ann@example.net", "--reason", "x", "--yes", "--purge-evidence")
    assert "Kept until" not in told
    assert "  ledger entries emptied       2" in told
    record = json.loads(await operator.says("privacy", "export", "ann@example.net"))
    assert [each["evidence"] for each in record["consents"][0]["entries"][:2]] == [None, None]


async def test_nothing_is_erased_without_a_reason(operator: Operator) -> None:
    assert "--reason must not be empty" in await operator.fails(
        "privacy", "erase", "ann@example.net", "--reason", " ", "--yes", status=2
    )
    assert "there is no account 'x'" in await operator.fails(
        "privacy", "erase", "ann@example.net", "--reason", "x", "--account", "x", "--yes"
    )


async def test_a_dry_run_erases_nothing(operator: Operator) -> None:
    words = ("privacy", "erase", "ann@example.net", "--reason", "asked by letter", "--dry-run")
    told = await operator.says(*words)
    assert told.startswith("ann@example.net would be erased from\n  consents      1\n")
    record = json.loads(await operator.says("privacy", "export", "ann@example.net"))
    assert [each["kind"] for each in record["consents"][0]["entries"]] == ["given"]

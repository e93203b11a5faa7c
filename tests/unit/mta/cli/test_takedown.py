"""``mta takedown`` against a real database: added, listed, in every process's memory, removed with a reason."""

from __future__ import annotations

import asyncio
from pathlib import Path

from mta.store.postgres.secrets import Secrets
from mta.store.store import Store
from policy.text.link_targets import LinkTarget
from tests.unit.mta.cli.shell import Operator

PIRATE = LinkTarget("www.pirate.example", "/films")


async def until_covered(store: Store, covered: bool) -> None:
    """Wait until the memory of ``store``, as of a worker, says so."""
    while (store.takedowns.in_force.find(PIRATE) is not None) is not covered:  # noqa: ASYNC110 - nothing tells us
        await asyncio.sleep(0.01)


async def test_a_takedown_from_its_reason_to_its_end(
    tmp_path: Path, database_url: str, secrets: Secrets, store: Store
) -> None:
    operator = Operator(tmp_path, database_url, secrets)
    assert (await operator.run("takedown", "list")).stderr == "Nothing was taken down.\n"
    (tmp_path / "list.txt").write_text("# of the court\npirate.example\n\nhttps://films.example/new/ # one part\n")
    words = ("takedown", "add", "https://shop.example/x", "--file", str(tmp_path / "list.txt"), "--reason", "court")
    assert await operator.says(*words, "--dry-run") == "3 would be taken down.\n"
    assert await operator.says(*words, "--by", "ann") == "3 taken down; 0 were already.\n"
    assert await operator.says(*words) == "0 taken down; 3 were already.\n"
    await until_covered(store, True)
    listed = {each["target"]: each["reason"] for each in await operator.json("takedown", "list")}
    assert listed == {"pirate.example": "court", "films.example/new": "court", "shop.example/x": "court"}

    assert "--reason must not be empty" in await operator.fails("takedown", "add", "a.b", "--reason", " ", status=2)
    assert "public suffix" in await operator.fails("takedown", "add", "co.uk", "--reason", "x", status=2)
    assert "what is taken down?" in await operator.fails("takedown", "add", "--reason", "x", status=2)
    assert "was not taken down" in await operator.fails(
        "takedown", "remove", "www.pirate.example", "--reason", "x", "--yes"
    )
    removed = await operator.says("takedown", "remove", "pirate.example", "--reason", "settled", "--yes", "--by", "bob")
    assert removed == "pirate.example is allowed again.\n"
    await until_covered(store, False)
    assert len(await operator.json("takedown", "list")) == 2
    past = {each["target"]: each["removed_by"] for each in await operator.json("takedown", "list", "--all")}
    assert past["pirate.example"] == "bob"

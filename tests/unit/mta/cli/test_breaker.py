"""``mta breaker`` against a real database: listed, shown, cancelled by name with a reason."""

from __future__ import annotations

from pathlib import Path

from mta.mail.message import Stream
from mta.store.postgres.secrets import Secrets
from mta.store.reputation import delivery_stats
from mta.store.store import Store
from policy.accounts.account import AccountStatus
from policy.reputation.breaker import ONE_TRAP, MailOrigin
from tests.unit.mta.cli.shell import Operator


async def test_an_operator_sees_what_has_tripped_and_lets_go_of_it(
    tmp_path: Path, database_url: str, secrets: Secrets, store: Store
) -> None:
    operator = Operator(tmp_path, database_url, secrets)
    assert await operator.says("breaker", "list") == "No breaker is open.\n"
    account = await store.accounts.add("shop", status=AccountStatus.ACTIVE, by="test")
    for _ in range(3):
        async with store._database.session() as connection, connection.transaction():
            await delivery_stats.add(connection, MailOrigin(account.id, Stream.MARKETING, provider="gmail"), ONE_TRAP)
    await store.breakers.look({})
    name = f"traps:account:{account.id}:gmail:marketing"

    (listed,) = await operator.json("breaker", "list")
    assert (listed["name"], listed["account"], listed["provider"]) == (name, "shop", "gmail")
    assert "3 spam traps hit" in await operator.says("breaker", "show", name)
    assert "needs a reason" in await operator.fails("breaker", "cancel", name, "--because", " ", status=2)
    told = await operator.says("breaker", "cancel", name, "--because", "old addresses were removed", "--by", "ann")
    assert told == f"The breaker {name} is cancelled by ann. Recipients let go: 0.\n"
    assert "is open" in await operator.fails("breaker", "cancel", name, "--because", "again")
    (past,) = await operator.json("breaker", "list", "--all")
    assert past["reset_reason"] == "old addresses were removed"
    assert "nothing is known" in await operator.fails("breaker", "trap", "0" * 26)

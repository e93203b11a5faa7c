"""A change of how to log in ends the user's other sessions, and links that were not used."""

from __future__ import annotations

from datetime import timedelta

import pytest

from mta.store.accounts.web_users import PASSKEYS
from mta.store.journal.account_changes import AccountError
from mta.store.store import Store


class Access:
    """A user with two sessions and a link; ``left``: which of them are in force."""

    def __init__(self, store: Store, number: int, tokens: dict[str, str]) -> None:
        self.store, self.number, self.tokens = store, number, tokens

    async def left(self) -> set[str]:
        sessions = self.store.web_sessions
        found = {each for each in ("own", "other") if await sessions.find(self.tokens[each])}
        return found | ({"link"} if await sessions.user_of_link(self.tokens["link"]) else set())


@pytest.fixture
async def access(store: Store) -> Access:
    user = await store.web_users.add("ann", role="operator", account_id=None, by="test")
    opened = {"waits_for_code": False, "source": "", "agent": ""}
    tokens = {each: await store.web_sessions.open(user.id, **opened) for each in ("own", "other")}  # type: ignore[arg-type]
    tokens["link"] = await store.web_sessions.add_link(user.id, timedelta(minutes=5))
    return Access(store, user.id, tokens)


async def test_a_password(store: Store, access: Access) -> None:
    await store.web_users.set_login(access.number, password="hash", secret="key", step=7, keep=access.tokens["own"])
    user = await store.web_users.by_name("ann")
    assert (user.password, store.web_users.totp_secret(user), user.totp_step) == ("hash", "key", 7)
    assert await access.left() == {"own"}


async def test_a_new_passkey(store: Store, access: Access) -> None:
    await store.web_users.add_passkey(access.number, b"1", "phone", b"key", 0, keep=access.tokens["own"])
    assert await access.left() == {"own"}


async def test_a_passkey_that_is_removed(store: Store, access: Access) -> None:
    async with store._database.session() as connection:
        await connection.execute(
            "insert into passkey (id, user_id, name, public_key, sign_count) values ('1', $1, 'phone', 'key', 0)",
            access.number,
        )
    assert not await store.web_users.remove_passkey(access.number, b"2", keep=access.tokens["own"])
    assert await access.left() == {"own", "other", "link"}
    assert await store.web_users.remove_passkey(access.number, b"1", keep=access.tokens["own"])
    assert await access.left() == {"own"}


@pytest.mark.parametrize(("known", "said"), [(1, "registered already"), (PASSKEYS, "at most")])
async def test_what_is_refused_ends_nothing(store: Store, access: Access, known: int, said: str) -> None:
    async with store._database.session() as connection:
        await connection.execute(
            "insert into passkey (id, user_id, name, public_key, sign_count)"
            " select n::text::bytea, $1, 'phone', 'key', 0 from generate_series(1, $2) n",
            access.number,
            known,
        )
    with pytest.raises(AccountError, match=said):
        await store.web_users.add_passkey(access.number, b"1", "", b"", 0, keep=access.tokens["own"])
    assert await access.left() == {"own", "other", "link"}

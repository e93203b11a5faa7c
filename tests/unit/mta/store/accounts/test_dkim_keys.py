"""DKIM keys in the database."""

from __future__ import annotations

import asyncio

import pytest

from mta.store.accounts.dkim_keys import DkimKeys, KeyExists, KeyState
from mta.store.postgres.secrets import Secrets
from mta.store.store import Store


async def test_a_key_lives_from_pending_to_retired(store: Store) -> None:
    await store.dkim_keys.add("acme.example", "s1", "rsa-sha256", b"PEM")
    (key,) = await store.dkim_keys.list()
    assert (key.state, key.pem, key.algorithm) == (KeyState.PENDING, b"PEM", "rsa-sha256")
    assert "PEM" not in repr(key)
    for state in (KeyState.ACTIVE, KeyState.RETIRED):
        await store.dkim_keys.set_state("acme.example", "s1", state)
        (key,) = await store.dkim_keys.list()
        assert key.state is state
    assert key.changed_at > key.created_at


async def test_mistakes(store: Store) -> None:
    await store.dkim_keys.add("acme.example", "s1", "rsa-sha256", b"PEM")
    with pytest.raises(KeyExists, match=r"s1\._domainkey\.acme\.example already"):
        await store.dkim_keys.add("acme.example", "s1", "ed25519-sha256", b"PEM")
    with pytest.raises(LookupError, match="there is no key"):
        await store.dkim_keys.set_state("acme.example", "s2", KeyState.ACTIVE)


async def test_private_keys_are_sealed(store: Store) -> None:
    await store.dkim_keys.add("acme.example", "s1", "rsa-sha256", b"PRIVATE KEY")
    async with store._database.session() as connection:
        assert b"PRIVATE" not in await connection.fetchval("select sealed from dkim_key")
    [row] = await DkimKeys(store._database, Secrets(bytes(32))).list()
    assert (row.selector, row.pem) == ("s1", None)


async def test_signers_are_told(store: Store) -> None:
    heard: asyncio.Queue[str | None] = asyncio.Queue()
    await store.listen("keys", heard.put_nowait)
    while not heard.empty():
        heard.get_nowait()
    await store.dkim_keys.add("acme.example", "s1", "rsa-sha256", b"PEM")
    async with asyncio.timeout(5):
        assert await heard.get() == ""

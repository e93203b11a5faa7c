"""The details of records: stored small, read back for ever, and no address hides in them."""

from __future__ import annotations

import zlib

import orjson
import pytest

from mta.mail.identity import MessageId
from mta.store.journal import record_details
from mta.store.journal.record_details import containing, pack, replace, unpack
from mta.store.store import Store
from tests.unit.mta.store import make

USUAL = {
    "profile": "transactional 1ebd6711e774",
    "expires_at": "2026-12-05T14:01:25.495110+00:00",
    "origin": {
        "account": "shop", "credential": None, "client": "192.0.2.1", "hello": "app.shop.example",
        "session": "bd249b24d8", "protocol": "ESMTP", "tls": None,
    },
    "findings": [
        ["account_state", "pass", "shop is active"], ["stream", "pass", "transactional allowed"],
        ["size", "pass", "2043 octets"], ["loops", "pass", "0 hops"], ["headers", "pass", "8 fields"],
        ["sender_identity", "pass", "orders@shop.example belongs to shop"],
        ["suppressed", "pass", "ann@example.net is not suppressed", "ann@example.net"],
        ["quota", "pass", "no quota"], ["attachments", "pass", "0 attachments, 0 octets"],
        ["scanned", "pass", "no scanner"], ["links", "pass", "nothing to look up"],
        ["dkim", "pass", "signed with s1._domainkey.shop.example"],
    ],
}  # fmt: skip


def test_what_was_packed_comes_back() -> None:
    for details in (USUAL, {}, {"findings": [["size", "refuse", "Größe \U0001f4e7" * 2000]]}):
        assert unpack(pack(details)) == details
    assert unpack(b"") == unpack(None) == {}


def test_a_usual_record_takes_a_quarter_of_its_octets() -> None:
    assert len(pack(USUAL)) < len(orjson.dumps(USUAL)) / 4


def test_the_first_dictionary_never_changes() -> None:
    """What is stored could not be read any more: add another dictionary instead."""
    assert zlib.crc32(record_details._DICTIONARIES[1]) == 2408580503
    assert set(record_details._DICTIONARIES) == {1}


async def with_details(store: Store, account_id: int, *texts: str) -> list[MessageId]:
    ids = []
    for text in texts:
        delivery = await make.put(store, account_id=account_id)
        packed = pack({"findings": [["links", "pass", text]]})
        await make.execute(store, "update message set details = $2 where id = $1", delivery.message_id, packed)
        ids.append(delivery.message_id)
    return ids


async def test_an_address_is_found_and_replaced_in_any_case(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record_details, "PAGE", 2)
    ids = await with_details(store, 1, "to Ann@Example.net", "none", "ann@example.net twice ann@example.net")
    other = await with_details(store, 2, "ann@example.net")
    async with store._database.session() as connection:
        assert {*await containing(connection, None, r"ann@example\.net")} == {ids[0], ids[2], *other}
        assert {*await replace(connection, 1, r"ann@example\.net", "<x>")} == {ids[0], ids[2]}
        assert await containing(connection, None, r"ann@example\.net") == other
        texts = [
            unpack(await connection.fetchval("select details from message where id = $1", each))["findings"][0][2]
            for each in ids
        ]
    assert texts == ["to <x>", "none", "<x> twice <x>"]

"""Rates of credentials and quotas of accounts, as clients meet them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mta.mail.reply import Reply
from mta.store.postgres.errors import StoreUnavailable
from mta.store.store import Store
from policy.accounts.account import Grant, QuotaLimits
from tests.unit.mta.store.make import count
from tests.unit.mta.submission.test_accept import ACCOUNT, CONTENT, Rig, make


def with_quota(store: Store, day: int | None, month: int | None = None) -> Rig:
    rig = make(store)
    rig.client.account = replace(ACCOUNT, quotas=QuotaLimits(day, month))
    return rig


async def test_the_quota_is_used_up_by_what_was_accepted(store: Store) -> None:
    rig = with_quota(store, 5)
    assert (await rig.accept("a@example.net", "b@example.net")).code == 250
    assert (await rig.accept("a@example.net", "b@example.net")).code == 250
    refused = await rig.accept("a@example.net", "b@example.net")
    assert (refused.code, refused.status) == (450, "4.7.1")
    assert "2 recipients, but 1 are left" in refused.text
    assert (await rig.accept("a@example.net")).code == 250
    assert await count(store, "queue") == 5


async def test_what_is_refused_costs_nothing(store: Store) -> None:
    rig = with_quota(store, None, 3)
    for _ in range(5):
        bad = await rig.accept("a@example.net", content=CONTENT.replace(b"From: shop@acme", b"From: shop@other"))
        assert bad.code == 550
    assert (await rig.accept("a@example.net", "b@example.net", "c@example.net")).code == 250


async def test_nor_does_what_could_not_be_committed(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    rig = with_quota(store, 1)

    async def away(*_: object, **__: object) -> None:
        raise StoreUnavailable("away")

    put_all = store.messages.enqueue_all
    monkeypatch.setattr(store.messages, "enqueue_all", away)
    with pytest.raises(StoreUnavailable):
        await rig.accept()
    monkeypatch.setattr(store.messages, "enqueue_all", put_all)
    assert (await rig.accept()).code == 250


async def test_a_credential_that_is_too_fast_is_told_for_how_long(store: Store) -> None:
    rig = make(store)
    rig.client.credential, rig.client.grant = "acme-1", Grant(rate=0.01, burst=3)
    answers = [await rig.mail() for _ in range(30)]
    assert not any(isinstance(answer, Reply) for answer in answers[:3])
    refused = answers[-1]
    assert isinstance(refused, Reply)
    assert (refused.code, refused.status) == (450, "4.7.0")
    assert refused.text.startswith("rate: acme-1 submits more than 0.01 messages a second (3 at once); try again in ")


async def test_credentials_have_a_rate_by_default_networks_have_none(store: Store) -> None:
    rig = make(store, rate_limits={"credential_rate": 0.01, "credential_burst": 2})
    assert not any([isinstance(await rig.mail(), Reply) for _ in range(10)])
    rig.client.credential = "acme-1"
    answers = [await rig.mail() for _ in range(10)]
    assert isinstance(answers[-1], Reply)
    rig.client.credential = "acme-2"
    assert not isinstance(await rig.mail(), Reply)

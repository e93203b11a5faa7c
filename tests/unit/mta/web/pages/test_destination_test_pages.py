"""A destination is asked by page: by an operator, within the limits of the path, with a row in the audit."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from config.schema import DatabaseSettings
from mta.admin import destination_probe
from mta.store.postgres.secrets import Secrets
from mta.store.queue.limit_shares import LimitKey, LimitRequest
from mta.store.store import Store
from mta.testing.nameserver import Node
from mta.testing.receiver import Receiver
from mta.testing.script import ReceiverStage, Script, ScriptRule, say
from tests.unit.mta.web.pages.rig import WARMING, Site, open_site

pytestmark = pytest.mark.asyncio(loop_scope="module")

TEST = "/test/destination"
UNKNOWN = ScriptRule(ReceiverStage.RCPT, "unknown@*", (say("550 5.1.1 no such user <b>here</b>"),))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(module_database: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    secrets, receiver = Secrets(bytes(range(32))), Receiver(Script(rules=(UNKNOWN,)))
    port = await receiver.start("127.0.0.2")
    store = await Store.open(module_database, DatabaseSettings(), secrets)
    sections = {
        **WARMING,
        "testing": {"receiver_port": port, "loopback_receivers": True},
        "shaping": {"default": {"connections": 1, "initial_connections": 1, "message_rates": ["2/h"]}},
    }
    try:
        await store.lease.register()
        async with open_site(store, secrets, tmp_path_factory.mktemp("data"), **sections) as opened:
            opened.zone["inbox.example"] = Node(mx=((10, "mx.inbox.example"),))
            opened.zone["mx.inbox.example"] = Node(a=("127.0.0.2",))
            yield opened
    finally:
        await store.close()
        await receiver.stop()


async def test_what_was_said_is_shown_and_counted(site: Site) -> None:
    page = await site.ann.submit(TEST, TEST, destination="unknown@inbox.example", source="new")
    assert "ended at recipient" in page.words
    assert "no such user <b>here</b>" in page.words
    assert "<b>here</b>" not in page.text
    assert "MAIL FROM:<>" in page.words
    assert "DATA" not in page.words
    row = (await site.store.audit.list(action="destination.probe"))[0]
    assert (row.actor, row.subject, row.outcome) == ("ann", "inbox.example", "done")
    assert row.after is not None
    assert row.after["reply"].startswith("550 5.1.1")
    assert "unknown" not in row.subject
    limits = {each.key.seconds: each for each in await site.store.egress_limits.at("mx.inbox.example")}
    assert limits[3600].cooling == 1
    assert 0 not in limits  # the connection is closed and given back


async def test_a_limit_that_mail_uses_is_not_passed(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(destination_probe, "PATIENCE", 0.3)
    key = LimitKey("path:new:mx.inbox.example")
    await site.store.egress_limits.exchange([LimitRequest(key, 1, 1)])
    page = await site.ann.submit(TEST, TEST, destination="rita@inbox.example", source="new")
    assert (page.status, "is taken by mail" in page.words) == (422, True)
    await site.store.egress_limits.exchange([LimitRequest(key, 1, 0, free=1)])
    page = await site.ann.submit(TEST, TEST, destination="rita@inbox.example", source="new")
    assert "takes this recipient" in page.words


async def test_what_cannot_be_asked_is_said(site: Site) -> None:
    for destination, said in (("a b", "domain"), ("rita@nowhere.example", "does not exist"), ("[127.0.0.1]", "domain")):
        page = await site.ann.submit(TEST, TEST, destination=destination, source="new")
        assert page.status == 422, destination
        assert said in page.words, destination
    wrong = await site.ann.submit(TEST, TEST, destination="rita@inbox.example", source="other")
    assert (wrong.status, "there is no source" in wrong.words) == (422, True)


async def test_it_is_the_operators(site: Site) -> None:
    assert (await site.shop.get(TEST)).status == 403
    assert (await site.browsers["desk"].get(TEST)).status == 403

"""Every page: shown to those who may see it, to nobody else, with hostile text in it, and changing nothing."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest
import pytest_asyncio

from mta.admin import shaping
from mta.mail.address import Address
from mta.mail.hold import Hold, HoldSource
from mta.mail.identity import format_id, parse_id
from mta.mail.reply import Reply
from mta.mail.shaping_action import ActionScope
from mta.web.pages import tables
from mta.web.pages.subjects import all_routes
from policy.permission.suppression import Reason
from tests.unit.mta.store.make import accepted, failed, put, result
from tests.unit.mta.web.pages.rig import Site
from tests.unit.mta.web.tables import contents, different

pytestmark = pytest.mark.asyncio(loop_scope="module")

HOSTILE = '"><script>alert(1)</script><img src=x onerror=alert(1)>\u202e'


class World:
    """What the pages are about. ``known``: values of the parameters in their paths, of the account shop."""

    def __init__(self) -> None:
        self.known: dict[str, str] = {}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(site: Site) -> World:
    store, world = site.store, World()
    shop = next(each.account for each in await store.accounts.list() if each.account.name == "shop")
    hold = Hold(HoldSource.OPERATOR, "", HOSTILE)
    message = accepted("rita@inbox.example", account_id=shop.id, hold=hold)
    await store.messages.enqueue(message, leased=False)
    await store.suppressions.apply(
        [store.suppressions.act(shop.id, Address.parse("sue@inbox.example"), Reason.MANUAL, detail=HOSTILE,
                                rule="operator", evidence="by ann", by="ann")]
    )  # fmt: skip
    scope = ActionScope(domain="inbox.example")
    action = await shaping.pause(site.context, scope, span=timedelta(hours=1), reason=HOSTILE)
    world.known = {
        "id": format_id(message.message.id),
        "address": "sue@inbox.example",
        "number": str(action.id),
        "name": "shop",
    }
    return world


def _paths(world: World, *, operator: bool) -> list[str]:
    """The addresses of all pages whose parameters are known."""
    found = []
    for route in all_routes():
        names = re.findall(r"{(\w+)(?::path)?}", route.path)
        if route.method == "GET" and route.operator is operator and all(each in world.known for each in names):
            found.append(re.sub(r"{(\w+)(?::path)?}", lambda match: world.known[match[1]], route.path))
    return found


async def test_every_page_is_shown_to_the_operator_and_to_the_account(site: Site, world: World) -> None:
    for path in [*_paths(world, operator=True), *_paths(world, operator=False)]:
        answer = await site.ann.get(path)
        if path not in ("/breakers/shop", "/users/shop"):
            assert answer.status in (200, 409), (path, answer.status, answer.words[:400])
        assert "<script>alert" not in answer.text, path
        assert "onerror=alert(1)>" not in answer.text, path
    for path in _paths(world, operator=False):
        answer = await site.shop.get(path)
        assert answer.status in (200, 403, 409), (path, answer.status, answer.words[:400])


async def test_an_account_sees_nothing_of_the_operator_or_another_account(site: Site, world: World) -> None:
    for path in _paths(world, operator=True):
        assert (await site.shop.get(path)).status == 403, path
    club = site.browsers["club"]
    for path in _paths(world, operator=False):
        answer = await club.get(path)
        assert answer.status in (200, 403, 404, 409), path
        assert world.known["id"] not in answer.text or path.endswith(world.known["id"]), path
        assert "alert(1)" not in answer.text, path
    assert (await club.get(f"/messages/{world.known['id']}")).status == 404


async def test_nobody_changes_what_is_another_accounts(site: Site, world: World) -> None:
    club = site.browsers["club"]
    token = (await club.get("/me")).form("/logout")["csrf"]
    before = await site.store.queue.count_states()
    for route in all_routes():
        if route.method != "POST" or route.path.startswith("/me"):
            continue
        path = re.sub(r"{(\w+)(?::path)?}", lambda match: world.known.get(match[1], "x"), route.path)
        fields = {"csrf": token, "id": world.known["id"], "action": "bounce", "reason": "mine now", "account": "shop",
                  "address": world.known["address"], "topic": ""}  # fmt: skip
        answer = await club.post(path, fields, follow=False)
        assert answer.status in (303, 403, 404, 409, 422, 200), (path, answer.status)
    assert await site.store.queue.count_states() == before
    assert await site.store.suppressions.of(Address.parse("sue@inbox.example"))


async def test_get_changes_nothing(site: Site, world: World) -> None:
    before = await contents(site.store)
    for path in [*_paths(world, operator=True), *_paths(world, operator=False)]:
        await site.ann.get(f"{path}?action=bounce&id={world.known['id']}&reason=x")
        assert (await site.ann.get(path, follow=False)).headers["Content-Security-Policy"]
    assert different(before, await contents(site.store)) == ["audit"], "that the operator has read the message"


async def test_a_hold_is_found_looked_at_and_released(site: Site, world: World) -> None:
    number = world.known["id"]
    assert "rita@inbox.example" in (await site.ann.get("/held")).words
    assert number in (await site.ann.get(f"/search?id={number}")).url
    page = await site.ann.get(f"/queue/change?action=release&id={number}")
    assert "Release 1 recipient" in page.words
    fields = page.form("/queue/change")
    refused = await site.ann.post("/queue/change", {**fields, "reason": ""})
    assert (refused.status, "reason is missing" in refused.words) == (422, True)
    done = await site.ann.post("/queue/change", {**fields, "reason": "looked at"})
    assert "1 recipient released" in done.words
    assert not (await site.store.queue.show(parse_id(number)))[0].holds
    row = (await site.store.audit.list(action="queue.release"))[0]
    assert (row.actor, row.via, row.reason, row.outcome) == ("ann", "page", "looked at", "done")


async def test_an_action_is_cancelled_with_a_reason(site: Site, world: World) -> None:
    number = world.known["number"]
    page = await site.ann.submit(f"/shaping/{number}", f"/shaping/{number}/cancel", reason="over")
    assert f"Action {number} cancelled" in page.words
    assert (await site.store.shaping_actions.find(number))[0].cancelled_by == "ann"


async def test_a_suppression_is_added_and_lifted(site: Site) -> None:
    page = await site.ann.get("/suppressions")
    fields = {
        **page.form("/suppressions", form_name="add"),
        "addresses": "a@x.example\nnonsense\nb@@x",
        "code": "manual",
    }
    fields["reason"] = "asked by phone"
    wrong = await site.ann.post("/suppressions", fields)
    assert wrong.status == 422
    assert "line 2" in wrong.words
    assert "line 3" in wrong.words
    assert "nonsense" in wrong.text  # what was typed is kept
    added = await site.ann.post("/suppressions", {**fields, "addresses": "a@x.example\nb@x.example"})
    assert "2 of 2 suppressed" in added.words
    lifted = await site.ann.submit("/suppressions/a@x.example", "/suppressions/a@x.example/lift", reason="a mistake")
    assert "is lifted" in lifted.words
    many = "b@x.example\na@x.example"
    both = await site.ann.submit("/suppressions", "/suppressions/lift", addresses=many, reason="a mistake")
    assert "1 of 2 lifted" in both.words
    assert "a@x.example" in both.words  # and why it was not
    rows = await site.store.audit.list(action="suppression", limit=4)
    assert {each.outcome for each in rows} >= {"done"}


async def test_a_bounce_is_read(site: Site) -> None:
    page = await site.shop.get("/test/bounce")
    fields = {**page.form("/test/bounce"), "replies": "550 5.1.1 no such user", "stage": "recipient"}
    assert "bad mailbox" in (await site.shop.post("/test/bounce", fields)).words


async def test_lists_come_as_csv(site: Site) -> None:
    answer = await site.ann.get("/audit?format=csv")
    assert answer.headers["Content-Type"].startswith("text/csv")
    assert answer.text.startswith("When,Outcome,Action")


async def test_csv_that_lacks_rows_says_so_and_where_they_are(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    shop = (await site.context.account("shop")).account
    for n in range(tables.PAGE + 3):
        await site.store.messages.enqueue(accepted(f"r{n}@many.example", account_id=shop.id), leased=False)
    await site.store.mailings.add(shop.id, "one", topic="offers", list="readers", by="ann")
    await site.store.mailings.add(shop.id, "two", topic="offers", list="readers", by="ann")

    async def lines(path: str) -> list[str]:
        return (await site.ann.get(path)).text.splitlines()[1:]

    searched = "/search?recipient=@many.example&format=csv"
    assert len(await lines(searched)) == tables.PAGE + 3
    assert "not all" not in (await lines("/mailings?format=csv"))[-1]
    monkeypatch.setattr(tables, "CSV_ROWS", 1)
    assert (await lines("/mailings?format=csv"))[1:] == ["These 1 rows are not all: GET /v1/mailings has them"]
    last = (await lines(searched))[-1]
    assert last.startswith("These 1 rows are not all: go on at /search?recipient=")
    (next_one, _) = await lines(last.rpartition(" ")[2])
    assert f"r{tables.PAGE + 1}@many.example" in next_one
    assert (await lines("/queue/list?format=csv"))[-1] == "These 1 rows are not all: GET /v1/queue has them"


async def test_times_are_utc_without_a_script(site: Site) -> None:
    answer = await site.ann.get("/me")
    assert re.search(
        rf'<time datetime="{datetime.now(UTC):%Y-%m-%d}T[^"]+" data-at="minute">[-0-9]+ [0-9:]+ UTC</time>', answer.text
    )


async def test_messages_are_found_by_what_is_known_of_them(site: Site) -> None:
    store = site.store
    shop = next(each.account for each in await store.accounts.list() if each.account.name == "shop")
    delivery = await put(store, "lost@club.example", account_id=shop.id, subject=f"Order 4711 {HOSTILE}")
    reply = Reply(550, "5.7.1", f"refused by policy {HOSTILE}")
    await store.results.write([result(delivery, [failed(delivery.recipients[0], reply=reply)], provider="club")])
    number = format_id(delivery.message_id)
    for query in ("recipient=LOST@club.example", "subject=order+4711", "reply=refused+by+policy"):
        page = await site.ann.get(f"/search?{query}")
        assert f"/messages/{number}" in page.text, query
        assert "<img src=x" not in page.text
        assert number not in (await site.browsers["club"].get(f"/search?{query}")).text
    message = await site.ann.get(f"/messages/{number}")
    assert "refused by policy" in message.words
    assert "<img src=x" not in message.text
    overview = await site.ann.get("/")
    assert "lost@club.example" in overview.words
    assert "club" in overview.words
    assert "lost@club.example" not in (await site.browsers["club"].get("/")).words

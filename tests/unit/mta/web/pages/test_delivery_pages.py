"""Sources and their warm-up, changed by page."""

from __future__ import annotations

import pytest

from tests.unit.mta.web.pages.rig import Site

pytestmark = pytest.mark.asyncio(loop_scope="module")

WARMUP = "/sources/new/gmail"


async def test_a_source_gets_another_day_of_its_curve(site: Site) -> None:
    assert "1 of 3" in (await site.ann.get("/sources")).words
    refused = await site.ann.submit(WARMUP, f"{WARMUP}/day", day="5", reason="it has sent before")
    assert (refused.status, "day 4 makes the source warm" in refused.words) == (422, True)
    done = await site.ann.submit(WARMUP, f"{WARMUP}/day", day="2", reason="it has sent before")
    assert "Today is day 2 of the curve" in done.words
    row = (await site.store.audit.list(action="warmup.set"))[0]
    assert (row.actor, row.reason, row.before, row.after) == (
        "ann", "it has sent before", {"day": 1}, {"day": 2, "planned": 20},
    )  # fmt: skip


async def test_a_pause_of_today_is_ended(site: Site) -> None:
    await site.store.warmup_days.set_step("new", "gmail", 1, by="ann", reason="x")
    async with site.store.events._database.session() as connection:
        await connection.execute("update warmup_day set used = 12, good = 5, bad = 7, paused = 'too many refusals'")
    assert "too many refusals" in (await site.ann.get(WARMUP)).words
    done = await site.ann.submit(WARMUP, f"{WARMUP}/resume", reason="they have delisted us")
    assert "It sends on today" in done.words
    assert "too many refusals" not in done.words
    assert (await site.store.warmup_days.latest())[0].paused == ""


async def test_warm_up_is_the_operators(site: Site) -> None:
    assert (await site.shop.get(WARMUP)).status == 403
    assert (await site.browsers["desk"].get(WARMUP)).status == 200
    token = (await site.browsers["desk"].get("/me")).form("/logout")["csrf"]
    fields = {"csrf": token, "day": "2", "reason": "mine now"}
    assert (await site.browsers["desk"].post(f"{WARMUP}/day", fields)).status == 403


async def test_mail_is_paused_or_leaves_from_another_pool(site: Site) -> None:
    given = {"domain": "slow.example", "span": "1h", "reason": "they are slow"}
    assert "Paused: domain slow.example" in (await site.ann.submit("/shaping", "/shaping", **given)).words
    again = await site.ann.submit("/shaping", "/shaping", **given)
    assert (again.status, "is suspended already" in again.words) == (422, True)
    rerouted = await site.ann.submit("/shaping", "/shaping", **given, pool="default")
    assert "Leaves from pool default: domain slow.example" in rerouted.words
    wrong = await site.ann.submit("/shaping", "/shaping", **given, pool="none")
    assert (wrong.status, "there is no pool" in wrong.words) == (422, True)
    spelt = await site.ann.submit("/shaping", "/shaping", **{**given, "domain": "Bücher.example"})
    assert "Paused: domain xn--bcher-kva.example" in spelt.words
    unknown = await site.ann.submit("/shaping", "/shaping", **{**given, "domain": "", "mailing": "spring"})
    assert (unknown.status, "there is no mailing" in unknown.words) == (422, True)
    none = await site.ann.submit("/shaping", "/shaping", **{**given, "domain": "no domain"})
    assert (none.status, "not a valid domain" in none.words) == (422, True)
    actions = [row.action for row in await site.store.audit.list(action="shaping", limit=10) if row.outcome == "done"]
    assert actions == ["shaping.pause", "shaping.reroute", "shaping.pause"]

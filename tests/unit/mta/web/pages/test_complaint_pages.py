"""A complaint from its opening to its end, by the pages of both sides."""

from __future__ import annotations

import pytest

from mta.admin import complaints
from mta.service.jobs.complaints import open_notifier
from policy.reputation.complaint import CaseState
from tests.unit.mta.web.pages.rig import Site

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def _open(site: Site, summary: str) -> int:
    page = await site.ann.submit(
        "/complaints", "/complaints", account="shop", source="recipient", summary=summary, address="rita@inbox.example"
    )
    assert "is opened" in page.words, page.words[:600]
    await site.store.cases.clocks.ring(await open_notifier(site.settings, site.store))  # the account is told
    return int(page.url.rpartition("/")[2])


async def test_a_case_is_answered_rejected_answered_again_accepted_and_closed(site: Site) -> None:
    number = await _open(site, "I never asked for this <b>mail</b>")
    at = f"/complaints/{number}"
    assert f"C-{number}" in (await site.shop.get("/complaints")).words
    assert (await site.browsers["club"].get(at)).status == 404
    empty = await site.shop.submit(at, f"{at}/answer", text=" ")
    assert (empty.status, "write what happened" in empty.words) == (422, True)
    assert "stands still" in (await site.shop.submit(at, f"{at}/answer", text="She signed up in March.")).words
    assert (await site.shop.post(f"{at}/accept", {"csrf": "x"})).status == 403
    assert "decide" in (await site.ann.get("/")).words
    assert "clock runs again" in (await site.ann.submit(at, f"{at}/reject", reason="Show the proof.")).words
    assert "Show the proof." in (await site.shop.get(at)).words
    await site.shop.submit(at, f"{at}/answer", text="Proof attached.", evidence=b"IP 192.0.2.1, 2026-03-01")
    assert "192.0.2.1" in (await site.browsers["desk"].get(at)).words
    assert "Accepted" in (await site.browsers["desk"].submit(at, f"{at}/accept", terms="Removed her.")).words
    closed = await site.ann.submit(at, f"{at}/close", verdict="unfounded", reason="Consent was proved.")
    assert "Closed as unfounded" in closed.words
    assert (await site.store.cases.show(number)).case.state is CaseState.CLOSED
    rows = [each.action for each in await site.store.audit.list(action="complaint", limit=10)]
    assert rows[:3] == ["complaint.close", "complaint.accept", "complaint.answer"]


async def test_a_verdict_is_asked_for(site: Site) -> None:
    at = f"/complaints/{await _open(site, 'again')}"
    page = await site.ann.submit(at, f"{at}/close")
    assert (page.status, "choose one" in page.words) == (422, True)


async def test_what_the_desk_noted_and_spent_is_not_the_accounts(site: Site) -> None:
    at = f"/complaints/{await _open(site, 'once more')}"
    number = int(at.rpartition("/")[2])
    await complaints.note(site.context, number, "their proof looks forged")
    await complaints.add_cost(site.context, number, "delisting", "250")
    told = (await site.ann.get(at)).words
    assert "looks forged" in told
    assert "delisting: 250 EUR" in told
    told = (await site.shop.get(at)).words
    assert "once more" in told
    assert "forged" not in told
    assert "delisting" not in told


async def test_an_end_is_announced_as_closing_counts(site: Site) -> None:
    number = await _open(site, "the last straw")
    await complaints.answer(site.context, number, text="She signed up.")
    desk, club = await complaints.open_desk(site.context), (await site.context.account("club")).account
    clocks = desk.clocks(club.profile)
    async with site.store._database.session() as connection:
        await connection.execute("update complaint_case set account_id = $2 where id = $1", number, club.id)
        await connection.execute(
            "insert into complaint_case (account_id, source, profile, summary, state, upheld, closed_at)"
            " select $1, 'csa', $2, 'spam', 'closed', true, now() from generate_series(1, $3)",
            club.id, club.profile, clocks.upheld - 1,
        )  # fmt: skip
    ends = await complaints.termination(site.context, desk, number)
    assert ends is not None
    assert ends.number == clocks.upheld
    async with site.store._database.session() as connection:
        long_ago = "update complaint_case set opened_at = now() - $2 * interval '1 second' where id = $1"
        await connection.execute(long_ago, number, clocks.upheld_within + 60)
    assert await complaints.termination(site.context, desk, number) is None
    closed = await complaints.close(site.context, desk, number, upheld=True, reason="")
    assert not closed.terminated


async def test_the_dossier_comes_as_pdf(site: Site) -> None:
    at = f"/complaints/{await _open(site, 'who are you?')}/dossier"
    found = await site.shop.get(f"{at}?language=de")
    assert (found.status, found.headers["Content-Type"]) == (200, "application/pdf")
    assert found.text.startswith("%PDF-")
    assert (await site.browsers["club"].get(at)).status == 404

"""The clocks of cases in a real database, with the clock moved: who is told, when, and what becomes of the account."""

from __future__ import annotations

import asyncio

import pytest

from mta.store.journal.account_changes import AccountError
from mta.store.store import Store
from policy.accounts.account import StatusChange
from policy.reputation.complaint import Clocks, Occasion, Source, Until
from tests.unit.mta.store import make
from tests.unit.mta.store.reputation.cases_rig import HOUR, Rig, open_rig


@pytest.fixture
async def rig(store: Store) -> Rig:
    return await open_rig(store)


async def test_no_answer_in_24_hours_suspends_and_holds_the_queue(rig: Rig) -> None:
    await rig.queue(3)
    case = await rig.opened()
    assert (await rig.ring()).told == 1
    assert await rig.state(case) == "sent"
    assert await make.count(rig.store, "queue where account_id = 0") == 1, "the letter is queued as our own mail"
    assert (await rig.ring(23.9)).over == 0
    assert await rig.status() == ("active", "")
    assert (await rig.ring(0.2)).over == 1
    assert await rig.status() == ("suspended", f"C-{case}")
    assert await rig.state(case) == "suspended"
    assert await rig.queued("holds = 1") == 3
    assert await make.count(rig.store, f"hold where source = 'account_status' and ref = 'C-{case}'") == 3
    assert [occasion for occasion, *_ in rig.desk.written] == [Occasion.COMPLAINT, Occasion.OVERDUE]
    assert (await rig.ring(1000)).over == 0, "nothing more follows by itself"


async def test_an_answer_in_time_keeps_the_account_going(rig: Rig) -> None:
    case = await rig.opened()
    await rig.ring()
    await rig.ring(20)
    await rig.answer(case)
    assert (await rig.ring(100)).over == 0
    assert await rig.status() == ("active", "")
    assert [occasion for occasion, *_ in rig.desk.written] == [Occasion.COMPLAINT]


async def test_a_rejected_answer_lets_the_clock_go_on_where_it_stood(rig: Rig) -> None:
    case = await rig.opened()
    await rig.ring()
    await rig.ring(20)
    await rig.answer(case)
    await rig.ring(50)
    done = await rig.store.cases.reject(case, rig.desk, reason="no word about consent", by="desk", now=rig.now)
    assert done.case.due_at == rig.now + 4 * HOUR
    assert rig.desk.written[-1] == (Occasion.REJECTED, [f"C-{case}"], "no word about consent")
    await rig.ring(3.9)
    assert await rig.status() == ("active", "")
    await rig.ring(0.2)
    assert await rig.status() == ("suspended", f"C-{case}")


async def test_48_hours_then_blocked_until_agreed(store: Store) -> None:
    rig = await open_rig(store, settings=Clocks(until=Until.AGREED))
    await rig.queue(2)
    case = await rig.opened()
    await rig.ring()
    await rig.answer(case)
    await rig.ring(48.1)
    assert await rig.status() == ("active", ""), "it has answered: the desk is late"
    await rig.store.cases.reject(case, rig.desk, reason="no solution", by="desk", now=rig.now)
    await rig.ring(0.1)
    assert await rig.status() == ("suspended", f"C-{case}"), "no good answer within 48 hours"
    with pytest.raises(AccountError, match=f"case C-{case} is open"):
        await store.account_status.move(rig.account_id, StatusChange.RESUME, by="operator")
    await rig.answer(case)
    done = await rig.agree(case, "form replaced")
    assert done.recipients == 2
    assert await rig.status() == ("active", "")
    assert await rig.queued("holds = 0") == 2
    told = [(occasion, remark) for occasion, _, remark in rig.desk.written[-2:]]
    assert told == [(Occasion.AGREED, "form replaced"), (Occasion.RESUMED, "form replaced")]


async def test_an_answer_that_waits_reminds_the_desk_and_harms_no_account(rig: Rig) -> None:
    await rig.queue(1)
    late, urgent = await rig.opened(), await rig.opened(Source.PROVIDER, urgent=True)
    await rig.ring()
    for case in (late, urgent):
        await rig.answer(case)
    assert (await rig.ring(23.9)).waiting == ()
    assert (await rig.ring(0.2)).waiting == (f"C-{late}", f"C-{urgent}")
    assert (await rig.ring(1)).waiting == ()
    assert (await rig.ring(24)).waiting == (f"C-{late}", f"C-{urgent}")
    assert rig.desk.reminded == [[f"C-{late}", f"C-{urgent}"]] * 2
    assert await rig.queued("bounce is not null") == 0, "two hours to stop, but it has answered within them"
    assert await make.count(rig.store, "outbox where kind = 'case_reminded'") == 0, "the desk's own matter"
    await rig.agree(late)
    await rig.agree(urgent)
    assert (await rig.ring(1000)).waiting == ()


async def test_what_a_silent_account_is_told_of_can_be_upheld(store: Store) -> None:
    rig = await open_rig(store, settings=Clocks(upheld=2))
    first = await rig.opened()
    await rig.ring()
    with pytest.raises(Exception, match="there is time yet"):
        await rig.close(first, upheld=True)
    await rig.ring(49)
    closed = await rig.close(first, upheld=True)
    assert (closed.upheld, await rig.status()) == (1, ("suspended", f"C-{first}"))
    assert rig.desk.written[-1][0] is Occasion.UPHELD
    second = await rig.opened(mailing="m2")
    await rig.ring()
    await rig.ring(49)
    assert (await rig.close(second, upheld=True, may_terminate=True)).terminated
    assert rig.desk.written[-1][0] is Occasion.TERMINATED


async def test_what_senders_read_has_no_word_of_the_complainer(rig: Rig) -> None:
    await rig.queue(1)
    await rig.opened(summary="Ihr seid Betrüger, http://evil.example", urgent=True)
    await rig.ring()
    row = await make.row(rig.store, "select reason, text from account a join hold h on h.ref = a.complaint_case")
    assert row["reason"] == "complaint, source: recipient"
    assert "evil" not in row["text"]


async def test_spam_stops_injection_at_once_and_two_hours_later_the_queue_fails(rig: Rig) -> None:
    await rig.queue(5)
    case = await rig.opened(Source.PROVIDER, urgent=True)
    await rig.ring()
    assert await rig.status() == ("suspended", f"C-{case}")
    assert await rig.queued("holds > 0 and bounce is null") == 5
    await rig.ring(1.9)
    assert await rig.queued("bounce is not null") == 0
    await rig.ring(0.2)
    assert await rig.queued("bounce like '%its time to answer has expired%' and holds = 0 and due_at <= now()") == 5
    assert await rig.status() == ("suspended", f"C-{case}")
    assert [entry.kind.value for entry in (await rig.store.cases.show(case)).history] == [
        "opened", "sent", "suspended", "bounced",
    ]  # fmt: skip


async def test_an_agreement_within_two_hours_saves_the_queue(rig: Rig) -> None:
    await rig.queue(5)
    case = await rig.opened(urgent=True)
    await rig.ring()
    await rig.answer(case)
    await rig.agree(case)
    await rig.ring(5)
    assert await rig.queued("holds = 0 and bounce is null") == 5
    assert await rig.status() == ("active", "")


async def test_every_case_must_be_settled_before_the_account_goes_on(rig: Rig) -> None:
    first, second = await rig.opened(Source.PROVIDER), await rig.opened(Source.RECIPIENT)
    await rig.ring()
    await rig.ring(25)
    assert [await rig.state(case) for case in (first, second)] == ["suspended", "suspended"]
    for case in (first, second):
        await rig.answer(case)
    await rig.agree(first)
    assert await rig.status() == ("suspended", f"C-{second}")
    await rig.agree(second)
    assert await rig.status() == ("active", "")


async def test_what_an_operator_has_suspended_no_case_resumes(rig: Rig) -> None:
    await rig.store.account_status.move(rig.account_id, StatusChange.SUSPEND, by="operator", reason="unpaid")
    case = await rig.opened(urgent=True)
    await rig.ring()
    await rig.close(case, upheld=False)
    assert await rig.status() == ("suspended", "")


async def test_an_account_that_is_not_active_yet_is_not_approved_meanwhile(store: Store) -> None:
    rig = await open_rig(store)
    await make.execute(store, "update account set status = 'review' where id = $1", rig.account_id)
    case = await rig.opened(urgent=True)
    await rig.ring()
    assert await rig.status() == ("review", "")
    with pytest.raises(AccountError, match="is open"):
        await store.account_status.move(rig.account_id, StatusChange.APPROVE, by="operator")
    await rig.close(case, upheld=False)
    await store.account_status.move(rig.account_id, StatusChange.APPROVE, by="operator")


async def test_three_notices_of_the_csa_in_six_months(rig: Rig) -> None:
    first = await rig.opened(Source.CSA)
    await rig.ring()
    await make.execute(rig.store, "update complaint_case set opened_at = now() - interval '181 days'")
    for _ in range(2):
        assert await rig.opened(Source.CSA) != first
        await rig.ring()
    assert await rig.status() == ("active", ""), "the first one is too old to count"
    last = await rig.opened(Source.CSA)
    await rig.ring()
    assert await rig.status() == ("suspended", f"C-{last}")
    assert rig.desk.written[-1][0] is Occasion.NOTICES


async def test_persistent_spam_ends_the_account(store: Store) -> None:
    rig = await open_rig(store, settings=Clocks(upheld=2))
    await rig.queue(4)
    for n in range(2):
        case = await rig.opened(Source.RECIPIENT, mailing=f"m{n}")
        await rig.ring()
        await rig.answer(case)
        if n == 0:
            assert (await rig.close(case, upheld=True)).upheld == 1
    with pytest.raises(Exception, match=r"upheld complaint 2 and terminate the account .*confirm that this is meant"):
        await rig.close(case, upheld=True)
    assert await rig.state(case) == "answered", "nothing was changed"
    assert await store.cases.upheld(rig.account_id, rig.now - HOUR) == 1
    closed = await rig.close(case, upheld=True, may_terminate=True)
    assert closed.terminated
    assert (await rig.status())[0] == "terminated"
    assert await rig.queued("bounce like 'the account is terminated: persistent spam: 2 complaints%'") == 4


async def test_upheld_cases_of_long_ago_do_not_count(store: Store) -> None:
    rig = await open_rig(store, settings=Clocks(upheld=2))
    for n in range(2):
        case = await rig.opened(mailing=f"m{n}")
        await rig.ring()
        await rig.answer(case)
        closed = await rig.close(case, upheld=True)
        assert (closed.upheld, closed.terminated) == (1, False)
        await make.execute(store, "update complaint_case set opened_at = now() - interval '181 days'")


async def test_complaints_of_feedback_loops_are_told_together(rig: Rig) -> None:
    await rig.opened(Source.FEEDBACK_LOOP, mailing="m0")
    assert (await rig.ring()).told == 1
    for n in range(1, 31):
        await rig.opened(Source.FEEDBACK_LOOP, mailing=f"m{n}")
    assert (await rig.ring(0.1)).told == 0, "an account is not written to again within minutes"
    assert (await rig.ring(0.2)).told == 30
    assert len(rig.desk.written) == 2
    await rig.opened(Source.FEEDBACK_LOOP, mailing="m31")
    await rig.opened(Source.REGULATOR, "stop that")
    assert (await rig.ring()).told == 2, "a regulator does not wait"
    assert rig.desk.written[-1][1][0] == "C-33", "and goes first"


async def test_an_account_without_a_contact_has_a_clock_all_the_same(store: Store) -> None:
    rig = await open_rig(store, deaf=True)
    case = await rig.opened()
    assert (await rig.ring()).unheard == (f"C-{case}",)
    await rig.ring(25)
    assert await rig.status() == ("suspended", f"C-{case}")
    assert "no contact" in (await store.cases.show(case)).history[2].data["text"]


async def test_deadlines_outlive_the_process_and_go_by_the_databases_clock(rig: Rig) -> None:
    case = await rig.opened()
    await rig.store.cases.clocks.ring(rig.desk)
    stored = await make.row(rig.store, "select due_at - told_at as span, due_at - now() as left from complaint_case")
    assert stored["span"] == 24 * HOUR
    assert 23 * HOUR < stored["left"] <= 24 * HOUR
    await make.execute(rig.store, "update complaint_case set due_at = now() - interval '1 second'")
    again = Rig(rig.store, rig.account_id, type(rig.desk)(), rig.now)
    assert (await rig.store.cases.clocks.ring(again.desk)).over == 1
    assert await rig.state(case) == "suspended"


async def test_two_machines_tell_an_account_once(rig: Rig) -> None:
    for n in range(5):
        await rig.opened(mailing=f"m{n}")
    rungs = await asyncio.gather(*(rig.ring() for _ in range(4)))
    assert sum(rung.told for rung in rungs) == 5
    assert len(rig.desk.written) == 1
    await asyncio.gather(*(rig.ring(30) for _ in range(3)))
    assert await make.count(rig.store, "case_event where kind = 'suspended'") == 5

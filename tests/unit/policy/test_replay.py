"""A changed profile on recorded findings: what would have become of the message, and when that cannot be known."""

from __future__ import annotations

from datetime import datetime

from pydantic import Field

from config.notation import Section
from mta.mail.message import Message
from policy.base import Facts, Finding, Pass, Verdict
from policy.chain import Chain, Failing
from policy.profile import StreamRules
from policy.replay import End, Fate, Judged, after, before

BOB, EVE = "bob@example.net", "eve@example.net"


class Settings(Section):
    most: int = Field(1, ge=0)


class Named:
    """A rule with a name; replaying asks no rule."""

    def __init__(self, name: str) -> None:
        self.name = name

    def check(self, message: Message, facts: Facts, now: datetime) -> tuple[Verdict, str]:
        return Pass(), ""


def rules(*names: str, observe: str = "", failing: Failing = Failing.REFUSE_ALL, **most: int) -> StreamRules:
    chain = Chain([Named(name) for name in names], observed=frozenset(observe.split()), failing=failing)
    return StreamRules(chain, {name: Settings(most=most.get(name, 1)) for name in names})


def judged(*findings: Finding, fate: Fate = Fate.ACCEPTED, to: tuple[str, ...] = (BOB,)) -> Judged:
    return Judged(findings, to, fate)


def passed(name: str) -> Finding:
    return Finding(name, "pass", "fine")


REFUSED = Finding("a", "refuse", "a: it is too long")
HELD = Finding("a", "hold", "a: it waits")
WATCHED = Finding("a", "observe", "would refuse: a: it is too long")


def test_what_was() -> None:
    assert before(judged(passed("a"))) == End(Fate.ACCEPTED)
    assert before(judged(passed("b"), REFUSED, fate=Fate.REFUSED)) == End(Fate.REFUSED, "a", "a: it is too long")
    assert before(judged(HELD, fate=Fate.HELD)) == End(Fate.HELD, "a", "a: it waits")
    broken = judged(Finding("b", "error", "KeyError"), fate=Fate.PUT_OFF)
    assert before(broken) == End(Fate.PUT_OFF, "b", "KeyError")
    dropped = judged(Finding("a", "refuse", "a: no", EVE), to=(BOB,))
    assert before(dropped) == End(Fate.ACCEPTED, dropped=(EVE,))


def test_nothing_changes_where_nothing_that_counts_changes() -> None:
    for record in (judged(passed("a"), passed("b")), judged(REFUSED, passed("b"), fate=Fate.REFUSED)):
        assert after(record, rules("a", "b"), rules("b", "a"), None) == before(record)


def test_a_rule_that_is_left_out_refuses_no_more() -> None:
    record = judged(REFUSED, passed("b"), fate=Fate.REFUSED)
    assert after(record, rules("a", "b"), rules("b"), None).fate is Fate.ACCEPTED


def test_from_observed_to_enforced_and_back() -> None:
    watched = judged(WATCHED, passed("b"))
    assert after(watched, rules("a", "b", observe="a"), rules("a", "b"), None) == End(
        Fate.REFUSED, "a", "a: it is too long"
    )
    would_wait = judged(Finding("a", "observe", "would hold: a: it waits"))
    assert after(would_wait, rules("a", observe="a"), rules("a"), None) == End(Fate.HELD, "a", "a: it waits")
    refused = judged(REFUSED, passed("b"), fate=Fate.REFUSED)
    assert after(refused, rules("a", "b"), rules("a", "b", observe="a"), None).fate is Fate.ACCEPTED


def test_a_new_rule_is_asked_again_or_unknown() -> None:
    record = judged(passed("a"))
    unknown = after(record, rules("a"), rules("a", "c"), None)
    assert (unknown.fate, unknown.rule) == (Fate.UNKNOWN, "c")
    assert unknown.why == "not asked then, and the content is no longer here: c"
    again = (passed("a"), Finding("c", "refuse", "c: no"))
    assert after(record, rules("a"), rules("a", "c"), again) == End(Fate.REFUSED, "c", "c: no")
    assert after(record, rules("a"), rules("a", "c"), (passed("a"), passed("c"))).fate is Fate.ACCEPTED


def test_a_new_rule_that_only_observes_changes_nothing() -> None:
    assert after(judged(passed("a")), rules("a"), rules("a", "c", observe="c"), None).fate is Fate.ACCEPTED


def test_what_is_refused_for_certain_is_not_unknown() -> None:
    record = judged(REFUSED, fate=Fate.REFUSED)
    assert after(record, rules("a"), rules("a", "c"), None).fate is Fate.REFUSED


def test_other_settings_are_another_rule() -> None:
    record = judged(REFUSED, fate=Fate.REFUSED)
    assert after(record, rules("a"), rules("a", a=2), None).fate is Fate.UNKNOWN
    assert after(record, rules("a"), rules("a", a=2), (passed("a"),)).fate is Fate.ACCEPTED


def test_the_word_given_then_counts_more_than_a_new_look() -> None:
    """Facts have changed since; the profile's change alone is to show."""
    record = judged(REFUSED, passed("b"), fate=Fate.REFUSED)
    fresh = (passed("a"), passed("b"), passed("c"))
    assert after(record, rules("a", "b"), rules("a", "b", "c"), fresh).fate is Fate.REFUSED


def test_some_recipients_fail() -> None:
    record = judged(
        Finding("a", "refuse", "a: no", EVE), Finding("a", "pass", "", BOB), fate=Fate.REFUSED, to=(BOB, EVE)
    )
    assert after(record, rules("a"), rules("a"), None).fate is Fate.REFUSED
    assert after(record, rules("a"), rules("a", failing=Failing.DROP), None) == End(Fate.ACCEPTED, dropped=(EVE,))
    alone = judged(Finding("a", "refuse", "a: no", EVE), fate=Fate.REFUSED, to=(EVE,))
    assert after(alone, rules("a"), rules("a", failing=Failing.DROP), None).fate is Fate.REFUSED
    dropped = judged(Finding("a", "refuse", "a: no", EVE), Finding("a", "pass", "", BOB), to=(BOB,))
    assert after(dropped, rules("a", failing=Failing.DROP), rules("a"), None).fate is Fate.REFUSED


def test_what_was_put_off_is_put_off() -> None:
    record = judged(Finding("a", "refuse", "a: try later"), passed("b"), fate=Fate.PUT_OFF)
    assert after(record, rules("a", "b"), rules("a", "b", observe="b"), None).fate is Fate.PUT_OFF
    broken = judged(Finding("a", "error", "KeyError"), passed("b"), fate=Fate.PUT_OFF)
    assert after(broken, rules("a", "b"), rules("b"), None).fate is Fate.ACCEPTED
    assert after(broken, rules("a", "b"), rules("b", "a"), None).fate is Fate.PUT_OFF


def test_a_stream_that_is_not_allowed_any_more() -> None:
    assert after(judged(passed("a")), rules("a"), None, None).fate is Fate.REFUSED


def test_a_stream_that_was_not_allowed() -> None:
    record = judged(Finding("stream", "refuse", "no marketing"), fate=Fate.REFUSED)
    assert after(record, None, rules("a"), None).fate is Fate.UNKNOWN

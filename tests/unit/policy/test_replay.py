"""A changed profile on recorded findings: what would have become of the message, and when that cannot be known."""

from __future__ import annotations

from datetime import datetime

from pydantic import Field

from config.types import Section
from mta.mail.message import Message
from policy.base import Facts, Finding, Pass, Verdict
from policy.chain import Chain, Failing
from policy.profile import StreamRules
from policy.replay import ReplayEnd, ReplayVerdict, ScreenedMessage, after, before

BOB, EVE = "bob@example.net", "eve@example.net"


class Settings(Section):
    most: int = Field(1, ge=0)


class Named:
    """A rule with a name; replaying asks no rule."""

    def __init__(self, name: str) -> None:
        self.name = name

    def on_content(self, message: Message, facts: Facts, now: datetime) -> tuple[Verdict, str]:
        return Pass(), ""


def rules(*names: str, observe: str = "", failing: Failing = Failing.REFUSE_ALL, **most: int) -> StreamRules:
    chain = Chain([Named(name) for name in names], observed=frozenset(observe.split()), failing=failing)
    return StreamRules(chain, {name: Settings(most=most.get(name, 1)) for name in names})


def judged(
    *findings: Finding, fate: ReplayVerdict = ReplayVerdict.ACCEPTED, to: tuple[str, ...] = (BOB,)
) -> ScreenedMessage:
    return ScreenedMessage(findings, to, fate)


def passed(name: str) -> Finding:
    return Finding(name, "pass", "fine")


REFUSED = Finding("a", "refuse", "a: it is too long")
HELD = Finding("a", "hold", "a: it waits")
WATCHED = Finding("a", "observe", "would refuse: a: it is too long")


def test_what_was() -> None:
    assert before(judged(passed("a"))) == ReplayEnd(ReplayVerdict.ACCEPTED)
    assert before(judged(passed("b"), REFUSED, fate=ReplayVerdict.REFUSED)) == ReplayEnd(
        ReplayVerdict.REFUSED, "a", "a: it is too long"
    )
    assert before(judged(HELD, fate=ReplayVerdict.HELD)) == ReplayEnd(ReplayVerdict.HELD, "a", "a: it waits")
    broken = judged(Finding("b", "error", "KeyError"), fate=ReplayVerdict.PUT_OFF)
    assert before(broken) == ReplayEnd(ReplayVerdict.PUT_OFF, "b", "KeyError")
    dropped = judged(Finding("a", "refuse", "a: no", EVE), to=(BOB,))
    assert before(dropped) == ReplayEnd(ReplayVerdict.ACCEPTED, dropped=(EVE,))


def test_nothing_changes_where_nothing_that_counts_changes() -> None:
    for record in (judged(passed("a"), passed("b")), judged(REFUSED, passed("b"), fate=ReplayVerdict.REFUSED)):
        assert after(record, rules("a", "b"), rules("b", "a"), None) == before(record)


def test_a_rule_that_is_left_out_refuses_no_more() -> None:
    record = judged(REFUSED, passed("b"), fate=ReplayVerdict.REFUSED)
    assert after(record, rules("a", "b"), rules("b"), None).fate is ReplayVerdict.ACCEPTED


def test_from_observed_to_enforced_and_back() -> None:
    watched = judged(WATCHED, passed("b"))
    assert after(watched, rules("a", "b", observe="a"), rules("a", "b"), None) == ReplayEnd(
        ReplayVerdict.REFUSED, "a", "a: it is too long"
    )
    would_wait = judged(Finding("a", "observe", "would hold: a: it waits"))
    assert after(would_wait, rules("a", observe="a"), rules("a"), None) == ReplayEnd(
        ReplayVerdict.HELD, "a", "a: it waits"
    )
    refused = judged(REFUSED, passed("b"), fate=ReplayVerdict.REFUSED)
    assert after(refused, rules("a", "b"), rules("a", "b", observe="a"), None).fate is ReplayVerdict.ACCEPTED


def test_what_a_rule_itself_observes_stays_observed() -> None:
    record = judged(WATCHED, passed("b"))
    assert after(record, rules("a", "b"), rules("a", "b"), None).fate is ReplayVerdict.ACCEPTED
    assert after(record, rules("a", "b", observe="a"), rules("a", "b"), None).fate is ReplayVerdict.REFUSED


def test_a_new_rule_is_asked_again_or_unknown() -> None:
    record = judged(passed("a"))
    unknown = after(record, rules("a"), rules("a", "c"), None)
    assert (unknown.fate, unknown.rule) == (ReplayVerdict.UNKNOWN, "c")
    assert unknown.why == "not asked then, and the content is no longer here: c"
    again = (passed("a"), Finding("c", "refuse", "c: no"))
    assert after(record, rules("a"), rules("a", "c"), again) == ReplayEnd(ReplayVerdict.REFUSED, "c", "c: no")
    assert after(record, rules("a"), rules("a", "c"), (passed("a"), passed("c"))).fate is ReplayVerdict.ACCEPTED


def test_a_new_rule_that_only_observes_changes_nothing() -> None:
    assert after(judged(passed("a")), rules("a"), rules("a", "c", observe="c"), None).fate is ReplayVerdict.ACCEPTED


def test_what_is_refused_for_certain_is_not_unknown() -> None:
    record = judged(REFUSED, fate=ReplayVerdict.REFUSED)
    assert after(record, rules("a"), rules("a", "c"), None).fate is ReplayVerdict.REFUSED


def test_other_settings_are_another_rule() -> None:
    record = judged(REFUSED, fate=ReplayVerdict.REFUSED)
    assert after(record, rules("a"), rules("a", a=2), None).fate is ReplayVerdict.UNKNOWN
    assert after(record, rules("a"), rules("a", a=2), (passed("a"),)).fate is ReplayVerdict.ACCEPTED


def test_the_word_given_then_counts_more_than_a_new_look() -> None:
    """Facts have changed since; the profile's change alone is to show."""
    record = judged(REFUSED, passed("b"), fate=ReplayVerdict.REFUSED)
    fresh = (passed("a"), passed("b"), passed("c"))
    assert after(record, rules("a", "b"), rules("a", "b", "c"), fresh).fate is ReplayVerdict.REFUSED


def test_some_recipients_fail() -> None:
    record = judged(
        Finding("a", "refuse", "a: no", EVE), Finding("a", "pass", "", BOB), fate=ReplayVerdict.REFUSED, to=(BOB, EVE)
    )
    assert after(record, rules("a"), rules("a"), None).fate is ReplayVerdict.REFUSED
    assert after(record, rules("a"), rules("a", failing=Failing.DROP), None) == ReplayEnd(
        ReplayVerdict.ACCEPTED, dropped=(EVE,)
    )
    alone = judged(Finding("a", "refuse", "a: no", EVE), fate=ReplayVerdict.REFUSED, to=(EVE,))
    assert after(alone, rules("a"), rules("a", failing=Failing.DROP), None).fate is ReplayVerdict.REFUSED
    dropped = judged(Finding("a", "refuse", "a: no", EVE), Finding("a", "pass", "", BOB), to=(BOB,))
    assert after(dropped, rules("a", failing=Failing.DROP), rules("a"), None).fate is ReplayVerdict.REFUSED


def test_what_was_put_off_is_put_off() -> None:
    record = judged(Finding("a", "refuse", "a: try later"), passed("b"), fate=ReplayVerdict.PUT_OFF)
    assert after(record, rules("a", "b"), rules("a", "b", observe="b"), None).fate is ReplayVerdict.PUT_OFF
    broken = judged(Finding("a", "error", "KeyError"), passed("b"), fate=ReplayVerdict.PUT_OFF)
    assert after(broken, rules("a", "b"), rules("b"), None).fate is ReplayVerdict.ACCEPTED
    assert after(broken, rules("a", "b"), rules("b", "a"), None).fate is ReplayVerdict.PUT_OFF


def test_a_stream_that_is_not_allowed_any_more() -> None:
    assert after(judged(passed("a")), rules("a"), None, None).fate is ReplayVerdict.REFUSED


def test_a_stream_that_was_not_allowed() -> None:
    record = judged(Finding("stream", "refuse", "no marketing"), fate=ReplayVerdict.REFUSED)
    assert after(record, None, rules("a"), None).fate is ReplayVerdict.UNKNOWN

"""The chain: every rule runs, every finding is kept, and what is refused does not hang on the order."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from datetime import datetime

import pytest

from mta.mail.address import Address
from mta.mail.headers import Headers
from mta.mail.hold import HoldSource
from mta.mail.message import Message
from mta.mail.reply import Reply
from policy.base import Amend, Facts, Hold, Pass, RecipientFacts, Refuse, Rule, Verdict
from policy.chain import (
    NAMED,
    Chain,
    Failing,
    Screened,
    personalise,
    screen,
    screen_delivery,
    screen_recipient,
    screen_sender,
)
from policy.rules.content.headers import RequiredHeaders
from policy.rules.content.loops import Loops
from policy.rules.content.size import Size
from policy.rules.recipient.suppressed import Suppressed
from policy.rules.sender.sender_identity import SenderIdentity
from tests.unit.policy.make import CONTEXT, NOW, facts, message

ADDRESSES = tuple(f"{name}@example.net" for name in ("bob", "eve", "joe"))
MESSAGE = message(to=ADDRESSES)
FACTS = facts(recipients=tuple(RecipientFacts(Address.parse(address)) for address in ADDRESSES))
GONE = Refuse(Reply(550, "5.7.1", "says: no; do otherwise"))
WAIT = Hold(HoldSource.REVIEW, "says", "unconfirmed; confirm it")
LATER = Refuse(Reply(450, "4.7.1", "waits: not now; try again later"))


@dataclass
class Says:
    """A rule about messages that always answers the same."""

    verdict: Verdict
    name: str = "says"

    def on_content(self, message: Message, facts: Facts, now: datetime) -> tuple[Verdict, str]:
        return self.verdict, "evidence"


@dataclass
class SaysOf:
    """A rule about recipients that answers the same for those in ``names``, and lets the others pass."""

    names: tuple[str, ...]
    verdict: Verdict = GONE
    name: str = "says_of"

    def on_recipient(self, recipient: RecipientFacts, facts: Facts, now: datetime) -> tuple[Verdict, str]:
        return (self.verdict if recipient.address.local in self.names else Pass()), "evidence"


class Marks:
    """A rule that adds a field with the number of fields there were."""

    name = "marks"
    personal = True

    def on_content(self, message: Message, facts: Facts, now: datetime) -> tuple[Verdict, str]:
        return Amend((b"X-Mark: %d" % len(message.headers.fields),), "marked"), ""


class Raises:
    name = "raises"

    def on_content(self, message: Message, facts: Facts, now: datetime) -> tuple[Verdict, str]:
        raise ZeroDivisionError("a secret")

    def on_recipient(self, recipient: RecipientFacts, facts: Facts, now: datetime) -> tuple[Verdict, str]:
        raise ZeroDivisionError("a secret")


def run(*rules: Rule, subject: Message = MESSAGE, observed: frozenset[str] = frozenset(),
        failing: Failing = Failing.REFUSE_ALL) -> Screened:  # fmt: skip
    return screen(Chain(rules, observed=observed, failing=failing), subject, FACTS, NOW)


def kinds(screened: Screened) -> list[tuple[str, str]]:
    return [(finding.policy, finding.verdict) for finding in screened.findings]


def test_what_passes_every_rule_goes_on_as_it_is() -> None:
    screened = run(Says(Pass()), SaysOf(()))
    assert (screened.refusal, screened.holds) == (None, ())
    assert screened.message is MESSAGE
    assert kinds(screened) == [("says", "pass")] + [("says_of", "pass")] * 3
    assert [finding.recipient for finding in screened.findings] == [None, *ADDRESSES]


def test_all_rules_run_even_after_a_refusal() -> None:
    screened = run(Says(GONE, "one"), Says(GONE, "two"), SaysOf(("bob",)))
    assert kinds(screened)[:3] == [("one", "refuse"), ("two", "refuse"), ("says_of", "refuse")]
    assert screened.refusal == GONE.reply


def test_a_refusal_for_good_is_the_answer_whatever_the_order() -> None:
    for order in itertools.permutations([Says(GONE), Says(LATER, "waits")]):
        assert run(*order).refusal == GONE.reply
    for pair in itertools.permutations([SaysOf(("bob",), LATER, "waits"), SaysOf(("bob",))]):
        assert run(*pair, failing=Failing.DROP).dropped == ((Address.parse("bob@example.net"), GONE.reply),)


def test_a_hold_waits_unless_something_is_refused() -> None:
    assert run(Says(WAIT)).holds == (WAIT,)
    other = replace(WAIT, ref="other")
    assert run(Says(WAIT), Says(other)).holds == (WAIT, other)
    assert run(Says(WAIT), Says(GONE)).holds == ()


def test_what_rules_write_is_written_at_once_and_once_and_personal_rules_run_apart() -> None:
    chain = Chain([Marks(), Says(Amend((b"X-Mark: last", b"X-Other: 1"), "changed")), Marks()])
    shared = screen(chain, MESSAGE, FACTS, NOW).message
    assert shared.content == b"X-Mark: last\r\nX-Other: 1\r\n" + MESSAGE.content
    copy = personalise(chain, shared, FACTS, NOW)
    assert copy.message.content == b"X-Mark: 5\r\nX-Other: 1\r\n" + MESSAGE.content
    assert copy.message.headers == Headers.split(copy.message.content)
    assert kinds(copy) == [("marks", "amend"), ("marks", "amend")]


def test_a_rule_that_writes_no_field_is_at_fault() -> None:
    wrong = Amend(("X-Mark: text",), "changed")  # type: ignore[arg-type]
    assert [name for name, _ in run(Says(wrong)).errors] == ["says"]


@pytest.mark.parametrize("verdict", [GONE, LATER, WAIT, Amend((b"X-Mark: 1",), "changed")])
def test_an_observed_rule_is_written_down_and_changes_nothing(verdict: Verdict) -> None:
    screened = run(Says(verdict), SaysOf(("bob",)), observed=frozenset({"says", "says_of"}))
    assert (screened.refusal, screened.holds, screened.dropped) == (None, (), ())
    assert kinds(screened)[0] == ("says", "observe")
    assert screened.findings[0].evidence.startswith(f"would {type(verdict).__name__.lower()}: ")
    assert run(Says(Pass()), observed=frozenset({"says"})).findings[0].verdict == "pass"


def test_a_rule_that_raises_puts_the_message_off_and_nobody_else() -> None:
    screened = run(Raises(), Says(GONE), SaysOf(("bob",)))
    assert str(screened.refusal) == ("451 4.3.0 internal error in the rule raises; it has been logged, try again later")
    assert kinds(screened)[:2] == [("raises", "error"), ("says", "refuse")]
    assert "secret" not in repr(screened.findings)
    assert [name for name, _ in screened.errors] == ["raises"]


def test_several_failing_recipients_are_each_named() -> None:
    screened = run(SaysOf(("bob",)), SaysOf(("joe",), Refuse(Reply(450, "4.7.1", "other: later")), "other"))
    assert str(screened.refusal) == "550 5.7.1 says: no; do otherwise\nother: later"
    assert run(SaysOf(("bob", "joe"), LATER)).refusal == Reply(450, "4.7.1", "\n".join([LATER.reply.text] * 2))


def test_a_long_list_of_failing_recipients_is_cut() -> None:
    names = tuple(f"n{n}" for n in range(NAMED + 5))
    addresses = [f"{name}@example.net" for name in names]
    known = facts(recipients=tuple(RecipientFacts(Address.parse(address)) for address in addresses))
    screened = screen(Chain([SaysOf(names)]), message(to=addresses), known, NOW)
    assert screened.refusal is not None
    assert screened.refusal.text.split("\n")[NAMED:] == ["and 5 more recipients"]


def test_dropping_keeps_the_others_and_tells_who_was_dropped() -> None:
    screened = run(SaysOf(("bob", "joe")), failing=Failing.DROP)
    assert screened.refusal is None
    assert [str(recipient.address) for recipient in screened.message.envelope.recipients] == ["eve@example.net"]
    assert [str(address) for address, _ in screened.dropped] == ["bob@example.net", "joe@example.net"]


def test_when_everybody_is_dropped_the_message_is_refused() -> None:
    assert run(SaysOf(("bob", "eve", "joe")), failing=Failing.DROP).refusal is not None
    twice = message(to=["bob@example.net", "bob@example.net"])
    assert run(SaysOf(("bob",)), subject=twice, failing=Failing.DROP).refusal is not None


def test_a_recipient_is_refused_when_it_is_named() -> None:
    recipient = FACTS.recipients[0]
    found = screen_recipient(Chain([Says(GONE), SaysOf(("bob",))]), recipient, FACTS, NOW)
    assert found is not None
    finding, reply = found
    assert (finding.policy, finding.recipient, reply) == ("says_of", "bob@example.net", GONE.reply)
    assert screen_recipient(Chain([SaysOf(("bob",), WAIT), Raises()]), recipient, FACTS, NOW) is None
    assert screen_recipient(Chain([SaysOf(("bob",))], observed=frozenset({"says_of"})), recipient, FACTS, NOW) is None


class Sees:
    """A rule about senders that is asked before delivery too; it refuses those called ``refused``."""

    mandatory = True

    def __init__(self, refused: str = "", name: str = "sees") -> None:
        self.refused, self.name = refused, name

    def on_sender(self, sender: Address | None, facts: Facts, now: datetime) -> tuple[Verdict, str]:
        return (GONE if sender and sender.local == self.refused else Pass()), "seen"

    def before_delivery(self, recipient: RecipientFacts, facts: Facts, now: datetime) -> tuple[Verdict, str]:
        return (GONE if recipient.address.local == self.refused else Pass()), "seen"


def test_a_sender_is_refused_at_mail_and_judged_again_with_the_message() -> None:
    chain = Chain([Sees("ann"), SaysOf(("bob",))])
    assert screen_sender(chain, Address.parse("ann@shop.example"), FACTS, NOW) == GONE.reply
    assert screen_sender(chain, Address.parse("ben@shop.example"), FACTS, NOW) is None
    assert screen_sender(chain, None, FACTS, NOW) is None
    assert screen(chain, MESSAGE, FACTS, NOW).refusal == GONE.reply
    assert kinds(screen(Chain([Sees()]), MESSAGE, FACTS, NOW)) == [("sees", "pass")]


def test_before_delivery_only_the_rules_for_that_are_asked_and_a_fault_is_no_permission() -> None:
    bob, eve, _ = FACTS.recipients
    chain = Chain([Sees("bob"), SaysOf(("eve",))])
    assert screen_delivery(chain, bob, FACTS, NOW) == GONE.reply
    assert screen_delivery(chain, eve, FACTS, NOW) is None
    broken = Sees()
    broken.before_delivery = Raises().on_recipient  # type: ignore[method-assign]
    with pytest.raises(ZeroDivisionError):
        screen_delivery(Chain([broken]), eve, FACTS, NOW)


def test_no_profile_leaves_out_or_merely_observes_a_mandatory_rule() -> None:
    ann, bob = Address.parse("ann@shop.example"), FACTS.recipients[0]
    floor = [Sees("ann"), Sees("bob", "other")]
    for chain in (
        Chain(mandatory=floor),
        Chain([Sees("ann")], observed=frozenset({"sees"}), mandatory=floor),
        Chain([Sees("bob"), Sees("ann", "more")], mandatory=[Sees("nobody")]),  # with the profile's own settings
    ):
        assert screen_sender(chain, ann, FACTS, NOW) == GONE.reply
        assert screen_delivery(chain, bob, FACTS, NOW) == GONE.reply
    assert screen(Chain(mandatory=floor), MESSAGE, FACTS, NOW).findings == ()
    observed = Chain([Sees("ann")], observed=frozenset({"sees"}))
    assert screen_sender(observed, ann, FACTS, NOW) is None


def test_the_order_of_the_base_rules_does_not_change_what_is_refused() -> None:
    rules: tuple[Rule, ...] = (
        Size(Size.Settings(), CONTEXT),
        Loops(Loops.Settings(), CONTEXT),
        RequiredHeaders(RequiredHeaders.Settings(), CONTEXT),
        SenderIdentity(SenderIdentity.Settings(), CONTEXT),
        Suppressed(Suppressed.Settings(), CONTEXT),
    )
    good = message()
    bad = [
        message(sender="eve@evil.example"),
        message("To: x@example.net\r\n"),
        message("X: y\r\n" * 9),
        message(body=b"x" * 20_000),
        message("Received: x\r\n" * 9),
    ]
    for order in itertools.permutations(rules):
        assert run(*order, subject=good).refusal is None
        assert all(run(*order, subject=subject).refusal for subject in bad)

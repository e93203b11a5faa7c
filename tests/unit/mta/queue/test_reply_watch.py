"""Every shipped rule, from the provider's own words to the actions in the database and what they do to mail."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from bounce.classify import Classifier
from bounce.rules import load_rules
from config.load import shipped_automation
from config.schema import AutomationRule, Settings, ShapingSettings
from mta.delivery.egress.actions import ActionsInForce
from mta.delivery.egress.automation import is_immediate
from mta.mail.address import Address
from mta.mail.delivery import Attempt, Delivery, Host, QueuedRecipient, Result, Stage
from mta.mail.identity import new_message_id
from mta.mail.message import Stream
from mta.mail.reply import Reply
from mta.mail.shaping_action import Effect, Place
from mta.observe.events import EventLog
from mta.observe.metrics import Metrics
from mta.queue import outcome
from mta.queue.outcome import Decision
from mta.queue.reply_watch import ReplyWatch
from mta.queue.schedule import Schedule
from mta.service.jobs.automation import AutomationJob
from mta.store.store import Store

RULES = shipped_automation()
CLASSIFIER = Classifier(load_rules())


class Lines:
    """The event log's lines."""

    def __init__(self) -> None:
        self.lines: list[bytes] = []

    def write(self, line: bytes) -> None:
        self.lines.append(line)

    def close(self) -> None: ...


def answered(reply: str, account: int) -> Decision:
    """What an attempt means that got this reply to RCPT."""
    now = datetime.now(UTC)
    recipient = QueuedRecipient(0, Address("ann", "example.net"))
    delivery = Delivery(new_message_id(), "example.net", None, (recipient,), account, now, now, 1000)
    result = Result(recipient, Stage.RECIPIENT, Reply.read(reply))
    attempt = Attempt(delivery, (result,), now, 0.1, Host("mx.example.net", "192.0.2.9"))
    return outcome.decide(attempt, CLASSIFIER, Schedule((300.0,)), now)


def standing(rule: AutomationRule, number: int) -> Place:
    """Where mail stands that gets a rule's reply: an account, a mailing and a source of its own."""
    site = rule.providers[0] if rule.providers else f"mx{number}.example.net"
    return Place("default", site, "example.net", number, Stream.MARKETING, f"m-{number}", f"mta-{number}")


async def test_every_shipped_rule_begins_what_it_says_with_its_providers_words(store: Store) -> None:
    metrics, lines = Metrics(), Lines()
    watch = ReplyWatch(ShapingSettings(automation=RULES), store, EventLog(lines), metrics)
    for number, rule in enumerate(RULES, 1):
        place = standing(rule, number)
        for n in range(rule.count or 1):
            fired = watch.fired(answered(rule.samples[n % len(rule.samples)], number), place)
            assert bool(fired) is is_immediate(rule), rule.name
            await watch.begin(fired)
    await store.reply_counts.flush()
    settings = Settings(shaping=ShapingSettings(automation=RULES))
    await AutomationJob(metrics).run(settings, store)

    begun = {(each.rule, each.effect.value): each for each in store.shaping_actions.known}
    assert begun.keys() == {(rule.name, effect) for rule in RULES for effect in rule.effects}
    for (name, effect), action in begun.items():
        rule = next(each for each in RULES if each.name == name)
        assert action.expires_at - action.created_at == timedelta(seconds=rule.duration), name
        assert action.sample in {str(Reply.read(sample))[:300] for sample in rule.samples}, name
        assert (action.connections, action.message_rates) == (
            (rule.connections, tuple(rule.message_rates)) if effect == "limit" else (None, ())
        )
    assert len(lines.lines) == sum(len(rule.effects) for rule in RULES if is_immediate(rule))

    in_force, now = ActionsInForce(store.shaping_actions.known), datetime.now(UTC)
    for number, rule in enumerate(RULES, 1):
        place = standing(rule, number)
        paused = in_force.pause(place, now)
        assert (paused is not None and paused.rule == rule.name) is (Effect.PAUSE.value in rule.effects), rule.name
        other = place._replace(source="mta-x", account_id=999)
        assert in_force.pause(other, now) is None, rule.name

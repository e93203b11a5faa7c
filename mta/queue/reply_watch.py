"""Watch receivers' replies for the automation rules: begin actions at once, count for the rules with a window.

Invariants: no delivery waits for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress

from config.schema import ShapingSettings
from mta.delivery.egress.automation import Automation, actions_of, is_immediate
from mta.mail.delivery import Delivered
from mta.mail.reply import Reply
from mta.mail.shaping_action import NewAction, Place, ShapingAction
from mta.observe.events import EventLog
from mta.observe.log import get_logger
from mta.observe.metrics import Metrics
from mta.queue.outcome import Decision
from mta.store.postgres.errors import StoreUnavailable
from mta.store.store import Store

log = get_logger()


class ReplyWatch:
    """The automation rules of this worker."""

    def __init__(self, shaping: ShapingSettings, store: Store, events: EventLog, metrics: Metrics) -> None:
        self._store, self._events, self._metrics = store, events, metrics
        self.configure(shaping)

    def configure(self, shaping: ShapingSettings) -> None:
        """Take over reloaded rules."""
        self._automation = Automation(shaping.automation)

    def fired(self, decision: Decision, place: Place) -> Sequence[NewAction]:
        """Return the actions that the replies of an attempt begin at once; count them for the other rules.

        Each reply of an attempt counts once, however many recipients it was for.
        """
        fired: list[NewAction] = []
        seen: set[Reply] = set()
        for each in decision.outcomes:
            reply = each.result.reply
            if reply in seen:
                continue
            seen.add(reply)
            category = "" if isinstance(each, Delivered) else each.classification.category
            for match in self._automation.matches(reply, each.result.stage, category, place):
                name, sample = match.rule.name, str(reply)
                if is_immediate(match.rule):
                    fired += actions_of(match.rule, match.scope, sample)
                else:
                    self._store.reply_counts.count(name, match.scope, replies=0, matched=1, sample=sample)
            for match in self._automation.measured(place):
                self._store.reply_counts.count(match.rule.name, match.scope, replies=1, matched=0)
        return fired

    async def begin(self, actions: Iterable[NewAction]) -> None:
        """Begin actions, those left out that are in force already."""
        with suppress(StoreUnavailable):  # the next reply of this kind begins them
            for new in actions:
                if (action := await self._store.shaping_actions.begin(new)) is not None:
                    report(action, self._metrics, self._events)


def report(action: ShapingAction, metrics: Metrics, events: EventLog | None = None) -> None:
    """Log and count an action that a rule has begun."""
    metrics.shaping_actions[action.effect].inc()
    if events is not None:
        events.shaping_action(action)
    log.warning(
        "shaping action begun",
        action=action.id,
        rule=action.rule,
        effect=action.effect.value,
        scope=str(action.scope),
        until=action.expires_at.isoformat(timespec="seconds"),
        reply=action.sample,
    )

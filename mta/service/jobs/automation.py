"""Judge the automation rules with a window, over all workers and machines, and end what follows from ended actions.

Limitations: a rule fires within a few seconds of the reply that was one too many.
"""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime

from config.schema import Settings
from mta.delivery.egress.automation import Automation, actions_of, is_immediate, is_reached
from mta.mail.shaping_action import Effect
from mta.observe.log import get_logger
from mta.observe.metrics import Metrics
from mta.queue.reply_watch import report
from mta.store.store import Store

log = get_logger()


class AutomationJob:
    """One object a service."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._read_from: Settings | None = None
        self._automation = Automation(())

    async def run(self, settings: Settings, store: Store) -> None:
        """Do it once. Raises StoreUnavailable."""
        if self._read_from is not settings:
            self._automation, self._read_from = Automation(settings.shaping.automation), settings
        await self._judge(store)
        for action in await store.shaping_actions.settle_ended():
            log.info("shaping action ended", action=action.id, name=action.name, effect=action.effect.value)
        now = datetime.now(UTC)
        in_force = Counter(action.effect for action in store.shaping_actions.known if action.in_force(now))
        for effect in Effect:
            self._metrics.shaping_actions_in_force[effect].set(in_force[effect])

    async def _judge(self, store: Store) -> None:
        windows = {name: rule.window for name, rule in self._automation.rules.items() if not is_immediate(rule)}
        for counted in await store.reply_counts.windows(windows):
            rule = self._automation.rules[counted.rule]
            if not is_reached(rule, counted):
                continue
            for new in actions_of(rule, counted.scope, counted.sample):
                if (action := await store.shaping_actions.begin(new)) is not None:
                    report(action, self._metrics)

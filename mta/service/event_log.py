"""The event log of a process, written to what the setting ``observe.events`` names."""

from __future__ import annotations

from config.schema import Settings
from config.toml import ConfigError
from mta.observe.events import EventLog
from mta.observe.metrics import Metrics
from mta.observe.sink import Sink, open_sink
from mta.store.accounts.accounts import Accounts


def open_events(settings: Settings, accounts: Accounts, metrics: Metrics) -> EventLog:
    """Return the event log. Raises ConfigError if its file cannot be opened."""
    return EventLog(_sink(settings, metrics), accounts.name_of)


def reopen_events(events: EventLog, before: Settings, now: Settings, metrics: Metrics) -> None:
    """Go over to what ``now`` names; reopen it if ``before`` has named the same. Raises ConfigError; then nothing has
    changed."""
    if now.observe.events == before.observe.events:
        events.reopen()
    else:
        events.replace(_sink(now, metrics))


def _sink(settings: Settings, metrics: Metrics) -> Sink:
    try:
        return open_sink(settings.observe.events, metrics)
    except OSError as error:
        raise ConfigError([f"observe.events: {error}"]) from None

"""Which send windows a delivery has, by the rules of the configuration; all that fit must be open.

Invariants: a message from the null sender has none: a DSN does not wait.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from zoneinfo import ZoneInfo

from config.delivery import SendWindowSettings
from config.types import week_hours
from mta.delivery.egress.mail_conditions import MailConditions, MailFacts
from mta.mail.delivery import DelayReason, Delivery
from mta.mail.message import Stream
from mta.queue.dsn import AccountLookup
from mta.queue.schedule import SendWindow, WeekHours, next_open
from mta.store.queue.enqueue import Delay, NewMessage


@dataclass(frozen=True, slots=True)
class _Rule:
    conditions: MailConditions
    window: SendWindow


class SendWindows:
    """``settings``: the rules in force; a reload makes a new one."""

    def __init__(self, settings: Sequence[SendWindowSettings], accounts: AccountLookup) -> None:
        self._accounts = accounts
        self._rules = [
            _Rule(
                MailConditions(each),
                SendWindow(each.name, tuple(WeekHours(*week_hours(text)) for text in each.times), ZoneInfo(each.zone)),
            )
            for each in settings
        ]

    def __bool__(self) -> bool:
        return bool(self._rules)

    def of(self, delivery: Delivery) -> tuple[SendWindow, ...]:
        """Return the windows of ``delivery``."""
        if not self._rules or delivery.sender is None:
            return ()
        return self._find(delivery.account_id, delivery.stream, delivery.mailing, delivery.destination)

    def _find(self, account_id: int, stream: Stream, mailing: str | None, domain: str) -> tuple[SendWindow, ...]:
        account = self._accounts.by_id(account_id)
        name, profile = (account.name, account.profile) if account else (None, None)
        mail = MailFacts(name, profile, stream, mailing, domain)
        return tuple(rule.window for rule in self._rules if rule.conditions.fits(mail))

    def opens_at(self, delivery: Delivery, now: datetime) -> datetime | None:
        """Return when ``delivery`` may be tried, its end if that is never; None: now."""
        windows = self.of(delivery)
        if not windows or (opens := next_open(windows, now)) == now:
            return None
        return opens or delivery.expires_at

    def delayed(self, new: NewMessage, now: datetime) -> NewMessage:
        """Return ``new`` with what its first attempts wait for: its release, and the windows of its recipients."""
        release = new.message.envelope.release
        if not self._rules and (release is None or release.at <= now):
            return new
        delays = self._delays(new, now)
        return replace(new, delays=delays) if delays else new

    def _delays(self, new: NewMessage, now: datetime) -> Mapping[str, Delay]:
        envelope, delays = new.message.envelope, dict[str, Delay]()
        released = max(now, envelope.release.at) if envelope.release else now
        for domain in {recipient.address.domain for recipient in envelope.recipients}:
            windows = self._find(new.account_id, new.stream, new.mailing, domain) if envelope.sender else ()
            opens = next_open(windows, released) or new.expires_at
            if opens > released:
                delays[domain] = Delay(opens, DelayReason.SEND_WINDOW)
            elif released > now:
                delays[domain] = Delay(released, DelayReason.RELEASE)
        return delays

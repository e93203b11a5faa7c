"""Conditions on mail, as rules of the configuration have them: on its account, profile, stream, mailing, domain."""

from __future__ import annotations

from dataclasses import dataclass

from config.mail_conditions import MailConditionSettings
from mta.delivery.route import DomainSet
from mta.mail.message import Stream


@dataclass(frozen=True, slots=True)
class MailFacts:
    """What a delivery is judged by. ``account`` None: it is not known."""

    account: str | None
    profile: str | None
    stream: Stream
    mailing: str | None
    domain: str


class MailConditions:
    """Conditions, arranged for asking."""

    __slots__ = ("_accounts", "_beginnings", "_domains", "_mailings", "_profiles", "_streams")

    def __init__(self, rule: MailConditionSettings) -> None:
        self._accounts, self._profiles = frozenset(rule.accounts), frozenset(rule.profiles)
        self._streams = frozenset(map(Stream, rule.streams))
        self._mailings = frozenset(each for each in rule.mailings if not each.endswith("*"))
        self._beginnings = tuple(each[:-1] for each in rule.mailings if each.endswith("*"))
        self._domains = DomainSet(rule.domains) if rule.domains else None

    def fits(self, mail: MailFacts) -> bool:
        """Return whether all conditions that are set are met."""
        return (
            (not self._accounts or mail.account in self._accounts)
            and (not self._profiles or mail.profile in self._profiles)
            and (not self._streams or mail.stream in self._streams)
            and (not (self._mailings or self._beginnings) or self._is_mailing(mail.mailing))
            and (self._domains is None or mail.domain in self._domains)
        )

    def _is_mailing(self, mailing: str | None) -> bool:
        return mailing is not None and (mailing in self._mailings or mailing.startswith(self._beginnings))

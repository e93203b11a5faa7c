"""Build DSNs for senders, to be queued in the same transaction as the outcomes they report.

``mta.queue.dsn_message`` decides who gets one and composes it, in the language of the account.

Invariants: A DSN never fails an outcome: if the message cannot be read any more, the DSN goes without it. There is no
DSN about a DSN: both have the null sender.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, tzinfo
from functools import cache
from typing import Protocol
from zoneinfo import ZoneInfo

from config.schema import Settings
from mta.dkim import Signer
from mta.mail.delivery import Attempt, Outcome
from mta.mail.identity import format_id, new_message_id
from mta.mail.message import Return, SenderTls
from mta.queue import dsn_message
from mta.queue.dsn_message import DsnRecipient, DsnWords
from mta.queue.internal_mail import InternalMailBuilder, InternalMailKind
from mta.store.queue.enqueue import NewMessage
from policy.accounts.account import Account
from policy.correspondence import language_of
from policy.languages import TextLanguage, load_texts
from policy.local_format import LocalFormat

MAX_RETURNED = 50_000  # octets of a message that a DSN returns


class AccountLookup(Protocol):
    def by_id(self, account_id: int) -> Account | None: ...


@cache
def dsn_words(language: TextLanguage, zone: tzinfo) -> DsnWords:
    """Return the texts of DSNs in ``language``, with times in ``zone``. Raises ConfigError."""
    texts = load_texts()[language].bounces.model_dump()
    return DsnWords(language=language.value, moment=LocalFormat(language, zone).moment, **texts)


class DsnComposer:
    def __init__(self, settings: Settings, accounts: AccountLookup, signer: Signer) -> None:
        self._delay_after = settings.queue.delay_dsn_after
        self._accounts = accounts
        self._zone = ZoneInfo(settings.server.time_zone)
        self._builder = InternalMailBuilder(settings, signer)

    def wanted(self, attempt: Attempt, outcomes: Sequence[Outcome]) -> tuple[DsnRecipient, ...]:
        """Return what to report to the sender, by NOTIFY and the account's setting; empty in most cases."""
        account = self._accounts.by_id(attempt.delivery.account_id)
        setting = account.bounce_notifications if account else "none"
        return dsn_message.wanted(attempt, outcomes, setting, self._delay_after, datetime.now(UTC))

    def compose(self, attempt: Attempt, recipients: Sequence[DsnRecipient], content: bytes | None) -> NewMessage:
        """Return the DSN, signed if the host's own domain has a key."""
        delivery, now, message_id = attempt.delivery, datetime.now(UTC), new_message_id()
        assert delivery.sender is not None
        if delivery.tls is SenderTls.REQUIRED:  # RFC 8689 5: what it says leaves by verified TLS only
            attempt = replace(attempt, delivery=replace(delivery, ret=Return.HEADERS))
        account = self._accounts.by_id(delivery.account_id)
        composed = dsn_message.compose(
            attempt,
            recipients,
            dsn_words(language_of(account) if account else TextLanguage.EN, self._zone),
            reporter=self._builder.hostname,
            dsn_id=format_id(message_id),
            message_id=format_id(delivery.message_id),
            content=content,
            limit=MAX_RETURNED,
            now=now,
        )
        return self._builder.build(
            InternalMailKind.DSN,
            message_id,
            delivery.sender,
            composed.content,
            now,
            account_id=delivery.account_id,
            smtputf8=composed.smtputf8,
            tls=delivery.tls,
            signing_domain=self._builder.hostname,
        )

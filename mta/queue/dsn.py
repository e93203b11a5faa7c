"""Compose DSNs, to be queued in the same transaction as the outcomes they report.

``bounce.dsn_message`` decides who is told what, and writes the text; here it becomes a message: with an id, an origin,
a signature if the host's own domain has a key, and a lifetime.

Limitations: there is no DSN about a DSN: the return path of both is null.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from typing import Protocol

from bounce import dsn_message
from config.schema import Settings
from mta.dkim import Signer
from mta.mail.delivery import Attempt, Outcome
from mta.mail.headers import Headers
from mta.mail.identity import format_id, new_message_id
from mta.mail.message import Envelope, Message, Origin, Recipient
from mta.store.queue.enqueue import NewMessage
from policy.accounts.account import Account
from policy.base import Finding

MAX_RETURNED = 50_000  # octets of a message that are returned with a DSN
FINDING = Finding("dsn", "pass", "a DSN of this service; the policy chain does not apply")


class AccountLookup(Protocol):
    def by_id(self, account_id: int) -> Account | None: ...


class DsnComposer:
    def __init__(self, settings: Settings, accounts: AccountLookup, signer: Signer) -> None:
        self._hostname = settings.server.hostname
        self._delay_after = settings.queue.delay_dsn_after
        self._lifetime = timedelta(seconds=settings.queue.expire_after)
        self._accounts = accounts
        self._signer = signer

    def wanted(self, attempt: Attempt, outcomes: Sequence[Outcome]) -> tuple[dsn_message.DsnRecipient, ...]:
        """Return what the sender is to be told, by NOTIFY and the account's choice; mostly nothing."""
        account = self._accounts.by_id(attempt.delivery.account_id)
        choice = account.bounce_notifications if account else "none"
        return dsn_message.wanted(attempt, outcomes, choice, self._delay_after, datetime.now(UTC))

    def compose(
        self, attempt: Attempt, recipients: Sequence[dsn_message.DsnRecipient], content: bytes | None
    ) -> NewMessage:
        """Return the DSN about ``recipients`` as a message of its own, signed. ``content``: the original message; None
        if it cannot be read: then nothing of it is returned."""
        delivery, now, message_id = attempt.delivery, datetime.now(UTC), new_message_id()
        assert delivery.sender is not None
        composed = dsn_message.compose(
            attempt,
            recipients,
            reporter=self._hostname,
            dsn_id=format_id(message_id),
            message_id=format_id(delivery.message_id),
            content=content,
            limit=MAX_RETURNED,
            now=now,
        )
        signature = self._signer.sign(composed.content, Headers.split(composed.content), self._hostname)
        octets = signature + composed.content
        envelope = Envelope(None, (Recipient(delivery.sender),), composed.body, composed.smtputf8)
        origin = Origin(
            account_id=delivery.account_id,
            account="",
            credential=None,
            client=ip_address("127.0.0.1"),
            hello=self._hostname,
            session="dsn",
            protocol="local",
            received_at=now,
        )
        message = Message(message_id, envelope, origin, Headers.split(octets), octets)
        return NewMessage(message, delivery.account_id, expires_at=now + self._lifetime, findings=(FINDING,))

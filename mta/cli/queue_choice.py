"""Which recipients a command of ``mta queue`` means.

It must never mean everything by meaning nothing: a choice without any condition needs ``--all``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from mta.cli.options import parse_span
from mta.mail.address import Address, AddressError, parse_domain
from mta.mail.hold import HoldSource
from mta.mail.identity import parse_id
from mta.mail.message import Stream
from mta.observe.labels import QueueState
from mta.store.accounts.accounts import Accounts
from mta.store.queue.queue import QueueFilter


class UnclearError(ValueError):
    """What is wrong with the choice, and how to say it rightly."""


@dataclass(frozen=True, slots=True)
class Choice:
    """The conditions as they were typed."""

    ids: tuple[str, ...] = ()
    destination: str | None = None
    account: str | None = None
    stream: Stream | None = None
    topic: str | None = None
    mailing: str | None = None
    sender: str | None = None
    recipient: str | None = None
    state: QueueState | None = None
    older_than: str | None = None
    reply: str | None = None
    held_by: HoldSource | None = None
    everything: bool = False

    async def filters(self, accounts: Accounts, now: datetime) -> list[QueueFilter]:
        """One for each message named, else one. Raises UnclearError, AccountError, AddressError, StoreUnavailable."""
        try:
            before = now - parse_span(self.older_than) if self.older_than else None
            ids = [parse_id(text) for text in self.ids]
            address = str(Address.parse(self.recipient)) if self.recipient else None
        except AddressError as error:
            raise UnclearError(f"--recipient {self.recipient!r}: {error}") from None
        except ValueError as error:
            raise UnclearError(str(error)) from None
        domain = _domain(self.destination) if self.destination else None
        account = await accounts.find(self.account) if self.account else None
        common = QueueFilter(
            account_id=account.account.id if account else None,
            destination=domain,
            stream=self.stream,
            topic=self.topic,
            mailing=self.mailing,
            address=address,
            state=self.state,
            reply=self.reply,
            sender=self.sender,
            before=before,
            held_by=self.held_by,
        )
        if common.is_everything and not ids and not self.everything:
            raise UnclearError("say which recipients: by ID, --destination, --account, ... (see --help), or --all")
        return [replace(common, message_id=each) for each in ids] or [common]


def _domain(text: str) -> str:
    try:
        return parse_domain(text)
    except AddressError as error:
        raise UnclearError(f"--destination {text!r}: {error}") from None

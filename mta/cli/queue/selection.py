"""Which recipients a command of ``mta queue`` means: its options, and the filter that they make."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from mta.cli.options import parse_message_id, require_span
from mta.mail.hold import HoldSource
from mta.mail.message import Stream
from mta.observe.labels import QueueState

if TYPE_CHECKING:
    from mta.admin.context import AdminContext
    from mta.store.queue.queue import QueueFilter

IdsArgument = Annotated[list[str] | None, typer.Argument(metavar="ID", help="Only these messages.")]
DestinationOption = Annotated[str | None, typer.Option(metavar="DOMAIN", help="Only recipients in this domain.")]
StreamOption = Annotated[Stream | None, typer.Option("--stream", help="Only this stream.")]
TopicOption = Annotated[str | None, typer.Option(help="Only marketing mail about this topic.")]
MailingOption = Annotated[str | None, typer.Option(help="Only this mailing: its id or name.")]
SenderOption = Annotated[str | None, typer.Option(metavar="ADDRESS", help="Only this envelope sender; `<>` for DSNs.")]
RecipientOption = Annotated[str | None, typer.Option(metavar="ADDRESS", help="Only this recipient.")]
StateOption = Annotated[QueueState | None, typer.Option(help="Only in this state; `leased`: a worker has it.")]
OlderThanOption = Annotated[
    str | None, typer.Option(metavar="DURATION", help="Only mail accepted at least so long ago: 90s, 15m, 2h, 5d.")
]
ReplyOption = Annotated[str | None, typer.Option(metavar="TEXT", help="Only with this text in the last reply.")]
HeldByOption = Annotated[HoldSource | None, typer.Option(help="Only with a hold of this source.")]


@dataclass(frozen=True, slots=True)
class QueueSelection:
    """The values of the options above, as typed."""

    ids: Sequence[str]
    destination: str | None
    account: str | None
    stream: Stream | None
    topic: str | None
    mailing: str | None
    sender: str | None
    recipient: str | None
    state: QueueState | None
    older_than: str | None
    reply: str | None
    held_by: HoldSource | None

    async def chosen(self, context: AdminContext) -> QueueFilter:
        """Return the filter; exit status 2 for a value that cannot be read."""
        from mta.admin import queue
        from mta.store.queue.queue import QueueFilter

        typed = QueueFilter(
            messages=tuple(parse_message_id(text) for text in self.ids),
            destination=self.destination,
            stream=self.stream,
            topic=self.topic,
            mailing=self.mailing,
            address=self.recipient,
            state=self.state,
            reply=self.reply,
            sender=self.sender,
            before=_before(self.older_than),
            held_by=self.held_by,
        )
        return await queue.read_filter(context, typed, self.account)


def _before(older_than: str | None) -> datetime | None:
    return datetime.now(UTC) - require_span(older_than, "--older-than") if older_than else None

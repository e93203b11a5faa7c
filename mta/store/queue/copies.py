"""One copy of a mailing for each mailbox: claimed by the transaction that queues the message.

    claim ▶ what no other message carries is queued ▶ commit: both, or neither

Whoever submits again after a lost answer is told that the copy is on its way. A message of unknown state is withdrawn
only if no further copy was left out because of it.

Invariants: a copy is left out only if another message of the same transaction, or a committed one, carries it.

Limitations: claims are forgotten with the records of the mailing (``retention.messages`` after it was made).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from mta.mail.address import Address
from mta.mail.identity import MessageId
from mta.mail.values import dataclass
from mta.store.postgres.database import Connection
from mta.store.postgres.secrets import Secrets
from mta.store.queue.enqueue import NewMessage

CopyKey = tuple[str, bytes]  # mailing, mailbox key

# In the order of the keys, so that two such statements never deadlock.
_CLAIM = """
insert into mailing_copy as c (mailing, mailbox, message_id)
select * from unnest($1::text[], $2::bytea[], $3::uuid[]) as one (mailing, mailbox, message_id)
order by mailing, mailbox
on conflict (mailing, mailbox) do update set again = true
returning mailing, mailbox, message_id"""

_NEEDED = """
select c.message_id from mailing_copy c
join unnest($1::text[], $2::bytea[]) as one (mailing, mailbox)
    on c.mailing = one.mailing and c.mailbox = one.mailbox
where c.message_id = any($3::uuid[])
order by c.mailing, c.mailbox for update of c"""

_AGAIN = """
select distinct c.message_id from mailing_copy c
join unnest($1::text[], $2::bytea[]) as one (mailing, mailbox)
    on c.mailing = one.mailing and c.mailbox = one.mailbox
where c.again and c.message_id = any($3::uuid[])"""

_FREE = """
delete from mailing_copy c using unnest($1::text[], $2::bytea[]) as one (mailing, mailbox)
where c.mailing = one.mailing and c.mailbox = one.mailbox and c.message_id = any($3::uuid[])
    and not exists (select from message m where m.id = c.message_id)"""

# Through the mailings, of which there are few.
FORGET = """
delete from mailing_copy where ctid = any(array(
    select c.ctid from mailing m join mailing_copy c on c.mailing = m.id where m.created_at < $1 limit $2
))"""


@dataclass(frozen=True, slots=True)
class FurtherCopy:
    """A recipient that was left out: ``message_id`` carries the copy of the mailing for its mailbox."""

    address: Address
    message_id: MessageId


@dataclass(frozen=True, slots=True)
class CopyClaim:
    """A message as it is queued, None if nothing of it is, and the recipients that were left out."""

    new: NewMessage | None
    further: tuple[FurtherCopy, ...] = ()


def keys_of(new: NewMessage, secrets: Secrets) -> list[CopyKey]:
    """Return what ``new`` claims, in the order of its recipients."""
    return [(new.mailing or "", secrets.mailbox_key(mailbox)) for mailbox in new.mailboxes]


async def claim(connection: Connection, messages: Sequence[NewMessage], secrets: Secrets) -> list[CopyClaim]:
    """Claim copies within the caller's transaction; return for each message what is to be queued."""
    keys = [keys_of(new, secrets) for new in messages]
    first: dict[CopyKey, MessageId] = {}
    for new, own in zip(messages, keys, strict=True):
        for key in own:
            first.setdefault(key, new.message.id)
    mailings, mailboxes = zip(*first, strict=True)
    rows = await connection.fetch(_CLAIM, mailings, mailboxes, list(first.values()))
    carriers = {(row["mailing"], row["mailbox"]): row["message_id"] for row in rows}
    return [_claimed(new, own, carriers) for new, own in zip(messages, keys, strict=True)]


def _claimed(new: NewMessage, keys: Sequence[CopyKey], carriers: dict[CopyKey, MessageId]) -> CopyClaim:
    """Return ``new`` with the recipients whose copy it carries, each mailbox once."""
    kept, further, seen = [], [], set[CopyKey]()
    for recipient, key in zip(new.message.envelope.recipients, keys, strict=False):
        if carriers[key] == new.message.id and key not in seen:
            kept.append(recipient)
        else:
            further.append(FurtherCopy(recipient.address, carriers[key]))
        seen.add(key)
    if not further:
        return CopyClaim(new)
    if not kept:
        return CopyClaim(None, tuple(further))
    envelope = replace(new.message.envelope, recipients=tuple(kept))
    return CopyClaim(replace(new, message=replace(new.message, envelope=envelope), mailboxes=()), tuple(further))


async def needed(connection: Connection, keys: Sequence[CopyKey], ids: Iterable[MessageId]) -> set[MessageId]:
    """Lock the claims of messages that are to be withdrawn; return those that a further copy was left out for."""
    wanted = list(ids)
    mailings, mailboxes = zip(*keys, strict=True)
    await connection.fetch(_NEEDED, mailings, mailboxes, wanted)
    return {row["message_id"] for row in await connection.fetch(_AGAIN, mailings, mailboxes, wanted)}


async def free(connection: Connection, keys: Sequence[CopyKey], ids: Iterable[MessageId]) -> None:
    """Forget the claims of messages that were withdrawn."""
    await connection.execute(_FREE, *zip(*keys, strict=True), list(ids))

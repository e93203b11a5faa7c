"""Remove an address from records about messages: messages, rejections, events, suppressions, references of mailings.

It is replaced by its keyed hash: the same everywhere, and meaningless without the secret.

Invariants: another address that merely contains this one is never touched.

Limitations: scans whole tables, so it takes as long as reading them. The content of queued messages is not changed. In
the reference of a mailing the address is found as it is written, not in base64 or quoted-printable. Its digest stays
that of what was confirmed, and no message can match it any more.
Subjects and display names are not searched for a person's name.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import orjson

from mta.mail.address import Address
from mta.store.journal import record_details
from mta.store.postgres.database import Connection, Database, row_count
from mta.store.postgres.secrets import address_placeholder

SECONDS = 3600.0  # for one table

_BEFORE, _AFTER = r"(?<![\w.!#$%&'*+/=?^`{|}~-])", r"(?![\w-]|\.[\w])"

_MESSAGES = """
update message set
    record = regexp_replace(record::text, $2, $3, 'gi')::jsonb, sender = regexp_replace(sender, $2, $3, 'gi')
where ($1::bigint is null or account_id = $1) and (record::text ~* $2 or sender ~* $2)
returning id"""

_REJECTIONS = """
update rejection set record = regexp_replace(record::text, $2, $3, 'gi')::jsonb
where ($1::bigint is null or account_id = $1) and record::text ~* $2"""

# Events of messages belong to the account of the message, the others name theirs.
_EVENTS = """
update event e set data = regexp_replace(data::text, $2, $3, 'gi')::jsonb
where data::text ~* $2 and ($1::bigint is null or (e.data ->> 'account_id')::bigint = $1
    or exists (select from message m where m.id = e.message_id and m.account_id = $1))"""

# What goes out to the account's webhooks, or has gone and may be sent again.
_OUTBOX = """
update outbox set data = regexp_replace(data::text, $2, $3, 'gi')::jsonb
where ($1::bigint is null or account_id = $1) and data::text ~* $2"""

# Messages are octets of any kind: PostgreSQL looks for text in their escaped form.
REFERENCE_HAS = "(r.preview ~* $2 or encode(r.content, 'escape') ~* $2 or encode(r.outgoing, 'escape') ~* $2)"
_REFERENCES = f"""
update mailing_reference r set
    content = decode(regexp_replace(encode(r.content, 'escape'), $2, $3, 'gi'), 'escape'),
    outgoing = decode(regexp_replace(encode(r.outgoing, 'escape'), $2, $3, 'gi'), 'escape'),
    preview = regexp_replace(r.preview, $2, $3, 'gi'),
    evidence = regexp_replace(r.evidence::text, $2, $3, 'gi')::jsonb,
    picture = case when r.preview ~* $2 then null else r.picture end,
    redacted_at = coalesce(r.redacted_at, now())
from mailing m
where m.id = r.mailing and ($1::bigint is null or m.account_id = $1) and {REFERENCE_HAS}"""  # noqa: S608 - our own text

# So that no process goes on comparing messages with what it read before.
_MAILINGS = """
update mailing m set changed_at = now()
where exists (select from mailing_reference r where r.mailing = m.id and r.redacted_at >= m.changed_at)"""

_SUPPRESSIONS = """
update suppression set address = $3, evidence = '' where address_key = $2 and ($1::bigint is null or account_id = $1)"""


@dataclass(frozen=True, slots=True)
class Redacted:
    """In how many rows of each kind the address stood."""

    messages: int
    rejections: int
    events: int
    references: int
    suppressions: int


def pattern(address: Address) -> str:
    """A regular expression of PostgreSQL and Python for ``address`` as it stands in JSON, in any case."""
    written = orjson.dumps(str(address)).decode()[1:-1]
    return _BEFORE + re.escape(written) + _AFTER


async def redact(database: Database, account_id: int | None, address: Address, address_key: bytes) -> Redacted:
    """Take ``address`` out of one account's records, or of everybody's (None). May be done again after a failure.

    Raises StoreUnavailable.
    """
    search, instead = pattern(address), address_placeholder(address_key)
    counts: list[int] = []
    async with database.session(SECONDS) as connection:
        changed = {row["id"] for row in await connection.fetch(_MESSAGES, account_id, search, instead)}
        changed.update(await record_details.replace(connection, account_id, search, instead))
    counts.append(len(changed))
    for statement in (_REJECTIONS, _EVENTS, _REFERENCES):
        async with database.session(SECONDS) as connection:
            counts.append(row_count(await connection.execute(statement, account_id, search, instead)))
    async with database.session(SECONDS) as connection:
        await connection.execute(_MAILINGS)
    async with database.session(SECONDS) as connection:
        await connection.execute(_OUTBOX, account_id, search, instead)
    async with database.session() as connection:
        counts.append(await _suppressions(connection, account_id, address_key, instead))
    return Redacted(*counts)


async def _suppressions(connection: Connection, account_id: int | None, address_key: bytes, instead: str) -> int:
    return row_count(await connection.execute(_SUPPRESSIONS, account_id, address_key, instead))

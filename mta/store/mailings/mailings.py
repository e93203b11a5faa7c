"""Mailings: created, confirmed and stopped in the database; looked up in memory.

Every process keeps those created or changed recently, so that a message needs no query for its mailing. Changes are
read when the database announces them, and every half minute in case that was missed.

Invariants: never answers from a copy that was never read: until then every question raises StoreUnavailable. A mailing
is never released without recording who did it.

Limitations: a mailing unchanged for ``LATELY`` is not in memory: ``find`` asks the database. The origin of its list is
read with each refresh: thousands of lists, not millions. A place in a sample stays taken if it is not known whether its
message was queued, or if the process ends before it could be given back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import asyncpg

from mta.mail.identity import MessageId, format_id, new_message_id
from mta.mail.reply import sanitise
from mta.observe.labels import BackgroundTask
from mta.store.journal.account_changes import AccountChangeKind, note
from mta.store.mailings import content_check, mailing_holds, mailing_records, references
from mta.store.mailings.mailing_holds import QueueMoved
from mta.store.mailings.mailing_records import COLUMNS, FROM, MailingRecord, MailingStory, mailing_of, record_of
from mta.store.mailings.references import NewReference, ReferenceContent, ReferenceRecord
from mta.store.postgres.cache_refresh import Freshness
from mta.store.postgres.database import Connection, Database
from mta.store.postgres.errors import ChangeRefused, OutcomeUnknown, StoreUnavailable
from policy.accounts.mailing import Mailing
from policy.mailing.reference import Matched, Unmatched

__all__ = ["MailingError", "MailingRecord", "Mailings"]

CHANNEL = "mailings"
LATELY = timedelta(days=60)
OVERLAP = timedelta(minutes=2)  # a change carries the time of its transaction's start, and is seen at its end

_READ = f"select {COLUMNS} {FROM} where m.changed_at > $1"
_LISTS = "select account_id, name, origin, approved_at is not null as approved from list_source"
_FIND = f"select {COLUMNS} {FROM} where m.id = $2 and m.account_id = $1 or m.account_id = $1 and m.name = $2"
_BY_ID = f"select {COLUMNS} {FROM} where m.id = $1"
_LIST = f"""
select {COLUMNS} {FROM} where ($1::bigint is null or m.account_id = $1)
    and ($3::timestamptz is null or (m.created_at, m.id) < ($3, $4))
order by m.created_at desc, m.id desc limit $2"""

_ADD = """
insert into mailing (id, account_id, name, topic, list, created_by, sample, category)
values ($1, $2, $3, $4, $5, $6, $7, $8)"""

_NAMED = f"select {COLUMNS} {FROM} where m.name = $1 order by m.created_at desc limit 50"

_IS_NEW = """
select not exists (
    select from mailing where account_id = $1 and list = $2 and (sample is null or released_at is not null)
)"""

_CONFIRM = """
update mailing set confirmed_at = now(), confirmed_by = $2, confirmed_terms = $3, changed_at = now()
where id = $1 and confirmed_at is null returning account_id"""

_LOCK = "update mailing set changed_at = now() where id = $1 and confirmed_at is not null returning account_id"

_RELEASE = """
update mailing set released_at = now(), released_by = $2, stopped_at = null, stopped_by = null, stopped = null,
    stop_bounces = false, changed_at = now()
where id = $1 returning account_id"""

_STOP = """
update mailing set stopped_at = now(), stopped_by = $2, stopped = $3, stop_bounces = $4, changed_at = now()
where id = $1 returning account_id"""

# By a breaker: what somebody has stopped stays as it is, and is not let go with the breaker.
_INTERRUPT = """
update mailing set stopped_at = now(), stopped_by = $2, stopped = $3, stop_bounces = false, changed_at = now()
where id = $1 and stopped is null returning account_id"""
_RESUME = """
update mailing set stopped_at = null, stopped_by = null, stopped = null, changed_at = now()
where id = $1 and stopped_by = $2 returning account_id"""

# The last place taken is news for everybody: from now on nobody needs to ask.
_TAKE = """
update mailing set sampled = sampled + $2,
    changed_at = case when sampled + $2 = sample then now() else changed_at end
where id = $1 and sample is not null and released_at is null and sampled + $2 <= sample
returning sampled = sample as last"""

# So is the first one that is free again.
_GIVE_BACK = """
update mailing set sampled = sampled - $2,
    changed_at = case when sampled >= sample then now() else changed_at end
where id = $1 and sample is not null and released_at is null and sampled >= $2
returning sampled + $2 >= sample as was_full"""

_GOES = "select sample is null or released_at is not null from mailing where id = $1"


class MailingError(ChangeRefused):
    """Why a change to a mailing is refused; the text says how to fix it."""


@dataclass(frozen=True, slots=True)
class _Copy:
    """What is in memory. ``changed``: when each was, by id; ``until``: the database's clock when it was last read."""

    by_id: dict[str, Mailing]
    by_name: dict[tuple[int, str], Mailing]
    changed: dict[str, datetime]
    until: datetime


class Mailings:
    """Made by ``Store``; ``start`` reads the copy and keeps it fresh."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._copy: _Copy | None = None
        self._fresh = Freshness(database.tasks, BackgroundTask.MAILINGS, self._read)
        self.start, self.changed = self._fresh.start, self._fresh.changed
        self._unused: dict[str, int] = {}  # places in samples that are to be given back, by mailing
        self._giving_back: asyncio.Task[None] | None = None

    async def stop(self) -> None:
        await self._fresh.stop()
        if self._giving_back:
            self._giving_back.cancel()
            await asyncio.gather(self._giving_back, return_exceptions=True)

    # questions

    def by_name(self, account_id: int, name_or_id: str) -> Mailing | None:
        """The account's mailing, from memory. Raises StoreUnavailable if the mailings were never read."""
        if self._copy is None:
            raise StoreUnavailable("the mailings could not be read yet")
        found = self._copy.by_id.get(name_or_id)
        if found is not None and found.account_id == account_id:
            return found
        return self._copy.by_name.get((account_id, name_or_id))

    async def find(self, account_id: int, name_or_id: str) -> Mailing | None:
        """As ``by_name``, but asks the database: for what memory does not know, or knows as not confirmed yet.

        Raises StoreUnavailable."""
        async with self._database.session() as connection:
            rows = await connection.fetch(_FIND, account_id, name_or_id)
        found = sorted((mailing_of(row) for row in rows), key=lambda mailing: mailing.id != name_or_id)
        return found[0] if found else None

    async def show(self, mailing_id: str) -> MailingRecord | None:
        """Raises StoreUnavailable."""
        async with self._database.session() as connection:
            row = await connection.fetchrow(_BY_ID, mailing_id)
        return record_of(row) if row else None

    async def named(self, name: str) -> list[MailingRecord]:
        """All mailings of that name, whosever they are, the newest first. Raises StoreUnavailable."""
        async with self._database.session() as connection:
            return [record_of(row) for row in await connection.fetch(_NAMED, name)]

    async def story(self, mailing_id: str, *, events: int = 20) -> MailingStory | None:
        """All that is known of a mailing, with its newest ``events``. Raises StoreUnavailable."""
        record = await self.show(mailing_id)
        return None if record is None else await mailing_records.tell_story(self._database, record, events)

    async def references(self, mailing_id: str) -> Sequence[ReferenceRecord]:
        """Return the messages that were confirmed for a mailing, without their content. Raises StoreUnavailable."""
        async with self._database.session() as connection:
            return await references.read(connection, mailing_id)

    async def compare_queued(
        self, mailing_id: str, message_id: MessageId, recipients: Sequence[str]
    ) -> Matched | Unmatched:
        """Return whether a queued message is, as it would leave, one that was confirmed. Raises StoreUnavailable."""
        return await content_check.compare_queued(self._database, mailing_id, message_id, recipients)

    async def reference_contents(self, mailing_id: str) -> Sequence[ReferenceContent]:
        """Return the messages that were confirmed for a mailing, those that count no longer too. Raises
        StoreUnavailable."""
        async with self._database.session() as connection:
            return await references.contents(connection, mailing_id)

    async def list(
        self, account_id: int | None = None, *, before: tuple[datetime, str] | None = None, limit: int = 100
    ) -> list[MailingRecord]:
        """The newest, of one account or of all; those older than ``before``, a time and an id. Raises
        StoreUnavailable."""
        async with self._database.session() as connection:
            rows = await connection.fetch(_LIST, account_id, limit, *(before or (None, None)))
        return [record_of(row) for row in rows]

    async def is_new_list(self, account_id: int, name: str) -> bool:
        """Whether no mailing to this list has gone out in full yet, so that a first one should be sampled."""
        async with self._database.session() as connection:
            new: bool = await connection.fetchval(_IS_NEW, account_id, name)
        return new

    # changes

    async def add(
        self,
        account_id: int,
        name: str,
        *,
        topic: str,
        list: str,
        by: str,
        sample: int | None = None,
        category: str = "",
    ) -> Mailing:
        """A new mailing, not confirmed. ``sample``: only so many go out before ``release``; ``category``: the kind of
        goods that it is about, if that is not its topic.

        Raises MailingError, StoreUnavailable."""
        topic = topic.strip().casefold()
        for what, text, longest in (("name", name, 100), ("topic", topic, 64), ("list", list, 64)):
            if not text or len(text) > longest or not text.isprintable() or text != text.strip() or '"' in text:
                raise MailingError(f"{text!r}: a mailing's {what} is 1 to {longest} printable characters, no quotes")
        if len(category) > 100 or not category.isprintable():
            raise MailingError(f"{category[:100]!r}: a category is at most 100 printable characters")
        if topic == "*":
            raise MailingError("a mailing has one topic; * stands for all of them")
        if sample is not None and sample < 1:
            raise MailingError("a sample is at least one message")
        mailing_id = format_id(new_message_id())

        async def work(connection: Connection) -> None:
            try:
                await connection.execute(_ADD, mailing_id, account_id, name, topic, list, by, sample, category)
            except asyncpg.UniqueViolationError:
                raise MailingError(f"the account has a mailing {name!r} already; each dispatch is a new one") from None
            except asyncpg.ForeignKeyViolationError:
                raise MailingError(f"there is no account {account_id}") from None
            await _say(connection, account_id, by, {"mailing": mailing_id, "act": "added", "name": name})

        await self._database.retried(work)
        await self._fresh.now()
        added = self.by_name(account_id, mailing_id)
        assert added is not None
        return added

    async def confirm(
        self, mailing_id: str, *, by: str, terms: str, messages: Sequence[NewReference] = ()
    ) -> QueueMoved:
        """Record that someone confirms this dispatch, and that it consists of ``messages``; what waited for it goes.

        One that is confirmed already gets further messages. Raises MailingError, StoreUnavailable."""
        if not by.strip() or not terms.strip():
            raise MailingError("a confirmation names who gives it, and under which version of the terms")
        refusal = f"the mailing {mailing_id} does not exist, or was confirmed before; each dispatch is a new mailing"

        async def work(connection: Connection) -> None:
            said = {"mailing": mailing_id, "act": "confirmed", "terms": terms}
            account_id = await connection.fetchval(_CONFIRM, mailing_id, by, terms)
            if account_id is None and messages:
                said["act"] = "content confirmed"
                account_id = await connection.fetchval(_LOCK, mailing_id)
            if account_id is None:
                raise MailingError(refusal)
            try:
                for new in messages:
                    await references.add(connection, mailing_id, new, by=by, terms=terms)
            except asyncpg.UniqueViolationError:
                raise MailingError("someone else has confirmed a message of it at this moment; try again") from None
            if messages:
                said["references"] = ", ".join(str(new.number) for new in messages)
                said["sha256"] = ", ".join(new.digest.hex() for new in messages)
            await _say(connection, account_id, by, said)

        await self._database.retried(work)
        await self._fresh.now()
        return await mailing_holds.settle(self._database, mailing_id)

    async def remove_reference(self, mailing_id: str, number: int, *, by: str, why: str) -> None:
        """Withdraw a confirmed message, and its samples: the mailing's messages need not be compared with it any more.
        The last one stays: without any, the mailing could say anything. Raises MailingError, StoreUnavailable."""

        async def work(connection: Connection) -> None:
            account_id = await connection.fetchval(_LOCK, mailing_id)
            if account_id is None or not await references.remove(connection, mailing_id, number, by=by):
                raise MailingError(f"the mailing {mailing_id} has no reference {number}")
            if all(each.removed for each in await references.contents(connection, mailing_id)):
                raise MailingError("it is the only reference of the mailing; stop the mailing (mta mailing stop)")
            said = {"mailing": mailing_id, "act": "reference removed", "number": number, "why": sanitise(why, 200)}
            await _say(connection, account_id, by, said)

        await self._database.retried(work)
        await self._fresh.now()

    async def release(self, mailing_id: str, *, by: str) -> QueueMoved:
        """Let go what waits behind a sample or a stop; what is not confirmed stays. Raises MailingError,
        StoreUnavailable."""
        said = {"mailing": mailing_id, "act": "released"}
        await self._change(_RELEASE, (mailing_id, by), by, said, f"there is no mailing {mailing_id}")
        return await mailing_holds.settle(self._database, mailing_id)

    async def halt(self, mailing_id: str, *, by: str, why: str, bounce: bool) -> QueueMoved:
        """Nothing more of it is taken; what is queued waits for ``release``, or fails. Raises MailingError,
        StoreUnavailable."""
        why = sanitise(why, 200)
        said = {"mailing": mailing_id, "act": "stopped", "why": why, "bounce": bounce}
        await self._change(_STOP, (mailing_id, by, why, bounce), by, said, f"there is no mailing {mailing_id}")
        return await mailing_holds.settle(self._database, mailing_id)

    async def take_sample(self, mailing_id: str, n: int) -> bool:
        """Whether ``n`` more messages belong to what may go out before somebody has looked. Raises StoreUnavailable."""

        async def work(connection: Connection) -> bool:
            row = await connection.fetchrow(_TAKE, mailing_id, n)
            if row is None:
                return bool(await connection.fetchval(_GOES, mailing_id))
            if row["last"]:
                await connection.execute("select pg_notify($1, '')", CHANNEL)
            return True

        return await self._database.retried(work)

    def give_back_sample(self, mailing_id: str, n: int) -> None:
        """Undo ``take_sample`` for ``n`` messages that were not queued, as soon as the database can be reached."""
        self._unused[mailing_id] = self._unused.get(mailing_id, 0) + n
        if self._giving_back is None or self._giving_back.done():
            self._giving_back = self._database.tasks.start(BackgroundTask.MAILINGS, self._give_back)

    async def _give_back(self) -> None:
        """Give back until there is nothing more. Raises StoreUnavailable, and is started again."""
        while self._unused:
            mailing_id, n = self._unused.popitem()

            async def work(connection: Connection) -> None:
                if await connection.fetchval(_GIVE_BACK, mailing_id, n):  # noqa: B023 - awaited within the round
                    await connection.execute("select pg_notify($1, '')", CHANNEL)

            try:
                await self._database.retried(work)
            except StoreUnavailable as error:
                if not isinstance(error, OutcomeUnknown):  # else it may be done, and twice would be too much
                    self._unused[mailing_id] = self._unused.get(mailing_id, 0) + n
                raise

    async def sweep(self) -> QueueMoved:
        """Settle what was queued while its mailing was confirmed, released or stopped. Raises StoreUnavailable."""
        return await mailing_holds.sweep(self._database)

    async def _change(
        self, statement: str, values: tuple[object, ...], by: str, said: Mapping[str, object], refusal: str
    ) -> None:
        async def work(connection: Connection) -> None:
            account_id = await connection.fetchval(statement, *values)
            if account_id is None:
                raise MailingError(refusal)
            await _say(connection, account_id, by, said)

        await self._database.retried(work)
        await self._fresh.now()

    # keeping the copy

    async def _read(self) -> None:
        """Read what has changed since the last time, and where each list comes from; drop what has not ``LATELY``."""
        known = self._copy
        async with self._database.session() as connection, connection.transaction(isolation="repeatable_read"):
            now: datetime = await connection.fetchval("select now()")
            rows = await connection.fetch(_READ, known.until - OVERLAP if known else now - LATELY)
            lists = {(row["account_id"], row["name"]): row for row in await connection.fetch(_LISTS)}
        mailings, changed = ({**known.by_id}, {**known.changed}) if known else ({}, {})
        mailings.update((row["id"], mailing_of(row)) for row in rows)
        changed.update((row["id"], row["changed_at"]) for row in rows)
        changed = {number: at for number, at in changed.items() if at > now - LATELY}
        by_id = {number: _from_list(mailings[number], lists) for number in changed}
        by_name = {(mailing.account_id, mailing.name): mailing for mailing in by_id.values()}
        self._copy = _Copy(by_id, by_name, changed, now)


async def stop(connection: Connection, mailing_id: str, *, by: str, why: str) -> None:
    """Stop a mailing that goes, within the caller's transaction; ``mailing_holds`` then holds what is queued."""
    why = sanitise(why, 200)
    account_id = await connection.fetchval(_INTERRUPT, mailing_id, by, why)
    if account_id is not None:
        await _say(connection, account_id, by, {"mailing": mailing_id, "act": "stopped", "why": why, "bounce": False})


async def resume(connection: Connection, mailing_id: str, *, stopped_by: str, by: str) -> None:
    """Let a mailing go on if ``stopped_by`` has stopped it, within the caller's transaction. Its sample stays one."""
    account_id = await connection.fetchval(_RESUME, mailing_id, stopped_by)
    if account_id is not None:
        await _say(connection, account_id, by, {"mailing": mailing_id, "act": "resumed", "after": stopped_by})


def _from_list(mailing: Mailing, lists: dict[tuple[int, str], Any]) -> Mailing:
    source = lists.get((mailing.account_id, mailing.list))
    origin, approved = (source["origin"], source["approved"]) if source else (None, False)
    if (origin, approved) == (mailing.origin, mailing.approved):
        return mailing
    return replace(mailing, origin=origin, approved=approved)


async def _say(connection: Connection, account_id: int, by: str, said: Mapping[str, object]) -> None:
    """Write down who did what, and tell all processes."""
    await note(connection, account_id, by, AccountChangeKind.MAILING, said)
    await connection.execute("select pg_notify($1, '')", CHANNEL)

"""Shaping actions: begun by rules and operators, in force on every worker and machine until they expire or are ended.

Every process keeps a copy of those in force. It is refreshed on notification by the database, and every half minute in
case one was missed. What a pause has put off stands in the queue with the id of the action, so that a cancellation
makes exactly that due.

Invariants: the same rule has one action of an effect in a scope at a time. A cancellation has a name and a reason.

Limitations: an expiry is judged by each machine's clock. Cancelling a pause over a million recipients is one
transaction. A transmission in progress is not stopped.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from mta.mail.reply import sanitise
from mta.mail.shaping_action import ActionScope, Effect, NewAction, ShapingAction
from mta.observe.labels import BackgroundTask
from mta.store.mailings import mailing_holds, mailings
from mta.store.postgres.cache_refresh import Freshness
from mta.store.postgres.database import Connection, Database, row_count
from mta.store.postgres.errors import ChangeRefused
from mta.store.queue import holds
from mta.store.queue.queue import SECONDS

CHANNEL = "shaping_action"
LONGEST = 300  # characters of a reason
RECENT = 3600  # seconds that an ended action stays in the copies: paths recover from it
KEPT = 400  # days

_COLUMNS = """
id, name, rule, scope, effect, settings, reason, sample, author, created_at, expires_at, cancelled_at, cancelled_by,
cancel_reason"""

# One at a time for each effect of a rule in a scope.
_LOCK = "select pg_advisory_xact_lock(hashtextextended($1, 0))"
_BEGIN = f"""
insert into shaping_action (name, rule, scope, effect, settings, reason, sample, author, expires_at)
select $1::text, $2::text, $3::jsonb, $4::text, $5::jsonb, $6, $7, $8, now() + make_interval(secs => $9)
where not exists (
    select from shaping_action
    where name = $1 and rule = $2 and scope = $3::jsonb and effect = $4 and cancelled_at is null and expires_at > now()
)
returning {_COLUMNS}"""  # noqa: S608 - our own text

_RECENT = f"""
select {_COLUMNS} from shaping_action
where expires_at > now() - make_interval(secs => $1)
    and (cancelled_at is null or cancelled_at > now() - make_interval(secs => $1))
order by id"""  # noqa: S608

_IN_FORCE = "cancelled_at is null and expires_at > now()"
_LIST = f"select {_COLUMNS} from shaping_action where $1 or {_IN_FORCE} order by id desc limit $2"  # noqa: S608
_NAMED = f"""
select {_COLUMNS} from shaping_action where id::text = $1 or name = $1 and {_IN_FORCE} order by id desc"""  # noqa: S608

_CANCEL = f"""
update shaping_action set cancelled_at = now(), cancelled_by = $2, cancel_reason = $3
where id = any($1::bigint[]) and {_IN_FORCE} returning {_COLUMNS}"""  # noqa: S608

# A statement of its own: it sees what was put off while the one before waited for the row.
_DUE = """
update queue set due_at = least(now(), expires_at), waits_for = null
where waits_for = any($1::bigint[]) and lease is null"""

_WAITING = "select count(*) from queue where waits_for = $1 and lease is null"

_OVER = f"""
update shaping_action set ended = true where not ended and (expires_at <= now() or cancelled_at is not null)
returning {_COLUMNS}"""  # noqa: S608

_FORGET = "delete from shaping_action where expires_at < now() - make_interval(days => $1)"
_SAY = "insert into event (kind, data) values ($1, $2)"


class ActionError(ChangeRefused):
    """The action cannot be changed; the text says how to fix it."""


@dataclass(frozen=True, slots=True)
class CancelledActions:
    """``due``: recipients that had waited for them, and are due now."""

    actions: tuple[ShapingAction, ...]
    due: int


class ShapingActions:
    """Made by ``Store``. ``known``: the actions in force, and those that ended recently."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.known: Sequence[ShapingAction] = ()
        self._watchers: list[Callable[[], None]] = []
        self._fresh = Freshness(database.tasks, BackgroundTask.SHAPING_ACTIONS, self._read)
        self.start, self.stop, self.changed = self._fresh.start, self._fresh.stop, self._fresh.changed

    def watch(self, changed: Callable[[], None]) -> None:
        """Call ``changed`` now, and whenever ``known`` has changed."""
        self._watchers.append(changed)
        changed()

    # questions

    async def list(self, *, ended: bool = False, limit: int = 100) -> Sequence[ShapingAction]:
        """Return the actions in force, or all, newest first. Raises StoreUnavailable."""
        async with self._database.session() as connection:
            return [action_of(row) for row in await connection.fetch(_LIST, ended, limit)]

    async def find(self, name: str) -> Sequence[ShapingAction]:
        """Return the action with this id, or those in force with this name. Raises ActionError, StoreUnavailable."""
        async with self._database.session() as connection:
            found = [action_of(row) for row in await connection.fetch(_NAMED, name)]
        if not found:
            raise ActionError(f"there is no action {name[:100]!r} (mta shaping actions list)")
        return found

    async def waiting(self, action: ShapingAction) -> int:
        """Return how many queued recipients it has put off. Raises StoreUnavailable."""
        async with self._database.session(SECONDS) as connection:
            count: int = await connection.fetchval(_WAITING, action.id)
        return count

    # changes

    async def begin(self, new: NewAction) -> ShapingAction | None:
        """Begin an action; None if there is one just like it. Raises StoreUnavailable."""
        action = await self._database.retried(lambda connection: _begin(connection, new))
        if action is not None:
            await self._fresh.now()
            if action.effect is Effect.HOLD_MAILING and action.scope.mailing is not None:
                await mailing_holds.settle(self._database, action.scope.mailing)
        return action

    async def cancel(self, actions: Sequence[ShapingAction], *, by: str, reason: str) -> CancelledActions:
        """Cancel those that are in force; what waits for them is due now. Raises ActionError, StoreUnavailable."""
        by, reason = (sanitise(" ".join(text.split()), LONGEST) for text in (by, reason))
        if not by or not reason:
            raise ActionError("a cancellation needs a name and a reason")
        ids = [action.id for action in actions]
        cancelled = await self._database.retried(
            lambda connection: _cancel(connection, ids, by, reason), seconds=SECONDS
        )
        if not cancelled.actions:
            raise ActionError("that action is not in force any more")
        await self._fresh.now()
        await self._settle(cancelled.actions)
        return cancelled

    async def settle_ended(self) -> Sequence[ShapingAction]:
        """Let the mailings go on whose hold has ended; return the actions that have ended since. Raises
        StoreUnavailable."""

        async def work(connection: Connection) -> Sequence[ShapingAction]:
            ended = [action_of(row) for row in await connection.fetch(_OVER)]
            for action in ended:
                await _resume(connection, action, by=action.cancelled_by or action.author)
                if action.cancelled_at is None:
                    await _say(connection, "shaping_action_expired", told(action))
            return ended

        ended = await self._database.retried(work)
        await self._settle(ended)
        return ended

    async def forget(self) -> None:
        """Delete old ones. Raises StoreUnavailable."""
        async with self._database.session(SECONDS) as connection:
            await connection.execute(_FORGET, KEPT)

    async def _settle(self, ended: Sequence[ShapingAction]) -> None:
        for action in ended:
            if action.effect is Effect.HOLD_MAILING and action.scope.mailing is not None:
                await mailing_holds.settle(self._database, action.scope.mailing)

    async def _read(self) -> None:
        async with self._database.session() as connection:
            known = [action_of(row) for row in await connection.fetch(_RECENT, RECENT)]
        if known != self.known:
            self.known = known
            for changed in self._watchers:
                changed()


async def _begin(connection: Connection, new: NewAction) -> ShapingAction | None:
    scope = orjson.dumps(new.scope.fields, option=orjson.OPT_SORT_KEYS).decode()
    settings = {"connections": new.connections, "message_rates": list(new.message_rates), "pool": new.pool}
    await connection.execute(_LOCK, f"shaping action {new.name} {new.effect.value} {scope}")
    row = await connection.fetchrow(
        _BEGIN,
        new.name,
        new.rule,
        scope,
        new.effect.value,
        orjson.dumps(settings).decode(),
        sanitise(" ".join(new.reason.split()), LONGEST),
        sanitise(new.sample, LONGEST),
        new.author,
        new.seconds,
    )
    if row is None:
        return None
    action = action_of(row)
    if action.effect is Effect.HOLD_MAILING and action.scope.mailing is not None:
        await mailings.stop(connection, action.scope.mailing, by=stopped_by(action), why=action.reason)
    await _say(connection, "shaping_action", told(action))
    await connection.execute("select pg_notify($1, '')", CHANNEL)
    return action


async def _cancel(connection: Connection, ids: list[int], by: str, reason: str) -> CancelledActions:
    await holds.plan_for_many(connection)
    actions = tuple(action_of(row) for row in await connection.fetch(_CANCEL, ids, by, reason))
    cancelled = [action.id for action in actions]
    status: str = await connection.execute(_DUE, cancelled)
    for action in actions:
        await _resume(connection, action, by=by)
        await _say(connection, "shaping_action_cancelled", told(action) | {"by": by, "why": reason})
    await connection.execute("select pg_notify($1, '')", CHANNEL)
    return CancelledActions(actions, row_count(status))


async def _resume(connection: Connection, action: ShapingAction, *, by: str) -> None:
    """Let the mailing go on that the action has stopped."""
    if action.effect is Effect.HOLD_MAILING and action.scope.mailing is not None:
        await mailings.resume(connection, action.scope.mailing, stopped_by=stopped_by(action), by=by)


async def _say(connection: Connection, kind: str, data: dict[str, Any]) -> None:
    await connection.execute(_SAY, kind, orjson.dumps(data).decode())


def stopped_by(action: ShapingAction) -> str:
    """Return who a mailing says has stopped it."""
    return f"shaping action {action.id}"


def told(action: ShapingAction) -> dict[str, Any]:
    """Return the fields of an action for events."""
    return {
        "action": action.id,
        "name": action.name,
        "rule": action.rule,
        "effect": action.effect.value,
        "scope": action.scope.fields,
        "reason": action.reason,
        "sample": action.sample,
        "author": action.author,
        "expires_at": action.expires_at,
    }


def action_of(row: Any) -> ShapingAction:
    """Return the action of a row with ``_COLUMNS``."""
    settings = orjson.loads(row["settings"])
    return ShapingAction(
        id=row["id"],
        name=row["name"],
        rule=row["rule"],
        scope=ActionScope.read(orjson.loads(row["scope"])),
        effect=Effect(row["effect"]),
        reason=row["reason"],
        sample=row["sample"],
        author=row["author"],
        created_at=row["created_at"],
        expires_at=row["expires_at"],
        connections=settings["connections"],
        message_rates=tuple(settings["message_rates"]),
        pool=settings["pool"],
        cancelled_at=row["cancelled_at"],
        cancelled_by=row["cancelled_by"],
        cancel_reason=row["cancel_reason"],
    )

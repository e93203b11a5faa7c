"""What ``mta webhook`` does, step by step; ``webhook_print`` shows the results.

It must never store a URL that the sender would refuse.

*Limits.* Kinds are words; one that never happens is taken as it is.
"""

from __future__ import annotations

import re
import time
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TypeVar

from config.schema import Settings
from mta.cli.output import fail
from mta.http_client import check_url
from mta.observe.account_events import AccountEvent
from mta.store.journal.account_changes import AccountError
from mta.store.journal.webhooks import WebhookDetails, WebhookError
from mta.store.postgres.secrets import SecretError
from mta.store.store import Store
from mta.web.webhooks import WebhookClient, batch

T = TypeVar("T")

_KIND = re.compile(r"[a-z][a-z_]{0,39}")


@dataclass(frozen=True, slots=True)
class Wanted:
    """A webhook to be made. ``kinds`` empty: all."""

    account: str
    url: str
    kinds: tuple[str, ...]
    paused: bool
    by: str


@dataclass(frozen=True, slots=True)
class Secret:
    """The secret of a webhook, which is shown this once."""

    number: int
    secret: str = field(repr=False)


async def add(settings: Settings, store: Store, wanted: Wanted) -> Secret:
    try:
        check_url(wanted.url, allow_private=settings.testing.private_webhooks)
    except ValueError as error:
        fail(str(error), status=2)
    if wrong := [kind for kind in wanted.kinds if not _KIND.fullmatch(kind)]:
        fail(f"{wrong[0]!r} is no kind of event: they are words like delivered (docs/webhooks.md)", status=2)
    account = (await refusable(store.accounts.find(wanted.account))).account
    adding = store.webhooks.add(account.id, wanted.url, wanted.kinds, by=wanted.by, paused=wanted.paused)
    return Secret(*await refusable(adding))


async def find_all(store: Store, account: str | None) -> Sequence[WebhookDetails]:
    account_id = (await refusable(store.accounts.find(account))).account.id if account else None
    return await store.webhooks.list(account_id)


async def find(store: Store, number: int) -> WebhookDetails:
    return await refusable(store.webhooks.find(number))


async def test(settings: Settings, store: Store, number: int) -> str | None:
    """Why it was not taken; None: it was."""
    turn = await refusable(store.webhooks.turn(number))
    event = AccountEvent(0, datetime.fromtimestamp(int(time.time()), UTC), "test")
    client = WebhookClient(settings.web.webhooks.timeout, allow_private=settings.testing.private_webhooks)
    try:
        return await client.send(turn, batch(turn.account, [event]).body)
    finally:
        await client.close()


async def pause(store: Store, number: int, by: str) -> None:
    await refusable(store.webhooks.pause(number, by=by))


async def resume(store: Store, number: int, by: str) -> None:
    await refusable(store.webhooks.resume(number, by=by))


async def rotate(store: Store, number: int, by: str) -> Secret:
    return Secret(number, await refusable(store.webhooks.rotate(number, by=by)))


async def remove(store: Store, number: int, by: str) -> None:
    await refusable(store.webhooks.remove(number, by=by))


async def refusable(work: Awaitable[T]) -> T:
    """The result of ``work``; what the store refuses is one sentence and exit status 1."""
    try:
        return await work
    except (AccountError, SecretError, WebhookError) as error:
        fail(str(error))

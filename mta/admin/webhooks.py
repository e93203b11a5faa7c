"""Webhooks: make, list, test, pause, resume, rotate, replay, remove.

Invariants: a secret is shown once, when it is made. An account reaches its own webhooks only.
"""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from datetime import UTC, datetime

from mta.admin.context import AdminContext
from mta.admin.errors import InvalidValue, NotFound
from mta.admin.service.webhook_client import WebhookClient, batch
from mta.http_client import check_url
from mta.observe.account_events import AccountEvent
from mta.store.journal.webhooks import WebhookDetails, WebhookError

_KIND = re.compile(r"[a-z][a-z_]{0,39}")


async def list_all(context: AdminContext, account: str | None = None) -> Sequence[WebhookDetails]:
    """Return the webhooks of one account, or all. Raises NotFound, StoreUnavailable."""
    return await context.store.webhooks.list(await context.account_filter(account))


async def find(context: AdminContext, number: int) -> WebhookDetails:
    """Raises NotFound, StoreUnavailable."""
    try:
        found = await context.store.webhooks.find(number)
    except WebhookError as error:
        raise NotFound(str(error)) from None
    if context.actor.account_id not in (None, found.account_id):
        raise NotFound(f"there is no webhook {number}")
    return found


async def add(
    context: AdminContext, account: str, url: str, kinds: Sequence[str] = (), *, paused: bool = False
) -> tuple[WebhookDetails, str]:
    """Make a webhook for events from now on; return it with its secret. Raises InvalidValue, NotFound, WebhookError,
    StoreUnavailable."""
    try:
        check_url(url, allow_private=context.settings.testing.private_webhooks)
    except ValueError as error:
        raise InvalidValue("url", str(error)) from None
    if wrong := [each for each in kinds if not _KIND.fullmatch(each)]:
        raise InvalidValue("kinds", f"{wrong[0]!r} is not an event kind; see docs/webhooks.md")
    owner = (await context.account(account)).account
    async with context.audited("webhook.add", url, account_id=owner.id) as entry:
        number, secret = await context.store.webhooks.add(owner.id, url, kinds, by=context.actor.name, paused=paused)
        entry.after.update(number=number, kinds=list(kinds), paused=paused)
    return await find(context, number), secret


async def pause(context: AdminContext, number: int) -> None:
    """Send nothing until it is resumed; events are kept. Raises NotFound, WebhookError, StoreUnavailable."""
    webhook = await find(context, number)
    async with context.audited("webhook.pause", number, account_id=webhook.account_id):
        await context.store.webhooks.pause(number, by=context.actor.name)


async def resume(context: AdminContext, number: int) -> None:
    """Go on where it stopped, at once. Raises NotFound, WebhookError, StoreUnavailable."""
    webhook = await find(context, number)
    async with context.audited("webhook.resume", number, account_id=webhook.account_id):
        await context.store.webhooks.resume(number, by=context.actor.name)


async def rotate(context: AdminContext, number: int) -> str:
    """Return a new secret; for a day both sign. Raises NotFound, WebhookError, StoreUnavailable."""
    webhook = await find(context, number)
    async with context.audited("webhook.rotate", number, account_id=webhook.account_id):
        return await context.store.webhooks.rotate(number, by=context.actor.name)


async def replay(context: AdminContext, number: int, after: int) -> WebhookDetails:
    """Send everything behind the event ``after`` again. Raises NotFound, WebhookError, StoreUnavailable."""
    webhook = await find(context, number)
    async with context.audited("webhook.replay", number, account_id=webhook.account_id) as entry:
        entry.before.update(cursor=webhook.cursor)
        entry.after.update(cursor=min(after, webhook.cursor))
        await context.store.webhooks.replay(number, min(after, webhook.cursor), by=context.actor.name)
    return await find(context, number)


async def send_test(context: AdminContext, number: int) -> str | None:
    """Send one signed event of kind ``test`` now; return None if it was accepted, else why not. Raises NotFound,
    StoreUnavailable."""
    webhook, settings = await find(context, number), context.settings
    event = AccountEvent(0, datetime.fromtimestamp(int(time.time()), UTC), "test")
    async with context.audited("webhook.test", number, account_id=webhook.account_id) as entry:
        turn = await context.store.webhooks.turn(number)
        client = WebhookClient(settings.web.webhooks.timeout, allow_private=settings.testing.private_webhooks)
        try:
            problem = await client.send(turn, batch(turn.account, [event]).body)
        finally:
            await client.close()
        entry.after.update(accepted=problem is None, problem=problem)
    return problem


async def remove(context: AdminContext, number: int, *, reason: str = "") -> None:
    """Remove a webhook; events that it has not accepted are lost to it. Raises NotFound, WebhookError,
    StoreUnavailable."""
    webhook = await find(context, number)
    async with context.audited("webhook.remove", number, account_id=webhook.account_id, reason=reason) as entry:
        entry.before.update(url=webhook.url, kinds=list(webhook.kinds))
        await context.store.webhooks.remove(number, by=context.actor.name, reason=reason)

"""How webhooks look, to people and (``--json``) to machines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import orjson
from rich.console import Console
from rich.table import Table

from mta.cli.output import moment, relative
from mta.cli.webhook_steps import Secret
from mta.store.journal.webhooks import WebhookDetails

_COUNTED = 10_000  # the store counts no further


def print_secret(made: Secret, *, as_json: bool) -> None:
    """The secret, and what it is for."""
    if as_json:
        _print_json({"webhook": made.number, "secret": made.secret})
        return
    print(f"Webhook {made.number}. Its secret, shown this once:\n\n    {made.secret}\n")
    print("With it the receiver checks the signature of each request (docs/webhooks.md).")


def print_list(found: Sequence[WebhookDetails], *, as_json: bool) -> None:
    if as_json:
        _print_json([_fields(each) for each in found])
        return
    if not found:
        print("There are no webhooks.")
        return
    table = Table("webhook", "account", "URL", "kinds", "waiting", "state")
    for each in found:
        kinds = ", ".join(each.kinds) or "all"
        table.add_row(str(each.id), each.account, each.url, kinds, _waiting(each), state_of(each))
    Console(markup=False).print(table)


def print_one(webhook: WebhookDetails, *, as_json: bool) -> None:
    if as_json:
        _print_json(_fields(webhook))
        return
    now = datetime.now(UTC)
    lines = [
        ("account", webhook.account),
        ("URL", webhook.url),
        ("kinds", ", ".join(webhook.kinds) or "all"),
        ("state", state_of(webhook)),
        ("taken up to", f"event {webhook.cursor}"),
        ("last taken", moment(webhook.last_success_at) if webhook.last_success_at else "never"),
        ("waiting", _waiting(webhook)),
    ]
    if webhook.failures and webhook.paused_at is None:
        lines += [("went wrong", webhook.last_error or ""), ("next try", relative(webhook.due_at, now))]
    print(f"Webhook {webhook.id}")
    for name, value in lines:
        print(f"  {name:12} {value}")


def state_of(webhook: WebhookDetails) -> str:
    """In a word or two, how it is."""
    if webhook.paused_at is not None:
        return "paused"
    if webhook.failures:
        return f"failed {webhook.failures} times in a row" if webhook.failures > 1 else "failed once"
    return "sends"


def _waiting(webhook: WebhookDetails) -> str:
    if not webhook.waiting:
        return "none"
    count = f"more than {_COUNTED}" if webhook.waiting > _COUNTED else str(webhook.waiting)
    return f"{count}, since {moment(webhook.oldest)}" if webhook.oldest else count


def _fields(webhook: WebhookDetails) -> dict[str, Any]:
    return asdict(webhook) | {"state": state_of(webhook)}


def _print_json(value: Any) -> None:
    print(orjson.dumps(value, option=orjson.OPT_INDENT_2).decode())

"""``mta webhook``: where an account's events are sent.

Invariants: a secret is shown once, when it is made; a URL that the sender would refuse is never stored.

Limitations: a change reaches the sender within a second; a request under way at that moment ends as it began. An event
kind that never happens is accepted.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mta.cli.context import load_settings, with_admin
from mta.cli.options import (
    AccountArgument,
    AccountOption,
    ByOption,
    ConfigOption,
    DryRunOption,
    JsonOption,
    ReasonOption,
    YesOption,
    confirm,
    group,
)
from mta.cli.output import Column, fail, moment, plain, print_details, print_json, print_table, relative

if TYPE_CHECKING:
    from mta.admin.context import AdminContext
    from mta.store.journal.webhooks import WebhookDetails

NumberArgument = Annotated[int, typer.Argument(metavar="NUMBER", min=1, help="Number of the webhook, see `list`.")]

_COUNTED = 10_000  # the store counts no further


def register(app: typer.Typer) -> None:
    commands = group(
        "Webhooks: URLs that are told what becomes of an account's mail, in signed batches.",
        ("add", add),
        ("list", list_),
        ("show", show),
        ("test", send_test),
        ("pause", pause),
        ("resume", resume),
        ("rotate", rotate),
        ("remove", remove),
    )
    app.add_typer(commands, name="webhook")


def add(
    account: AccountArgument,
    url: Annotated[str, typer.Argument(metavar="URL", help="Receiver, such as https://example.com/events.")],
    kind: Annotated[
        list[str] | None, typer.Option("--kind", help="Only events of this kind; repeatable. Default: all.")
    ] = None,
    paused: Annotated[bool, typer.Option("--paused", help="Keep events, but send nothing before `resume`.")] = False,
    by: ByOption = None,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Create a webhook for events from now on. Its secret is shown only once."""
    from mta.admin import webhooks

    async def work(context: AdminContext) -> tuple[WebhookDetails, str]:
        return await webhooks.add(context, account, url, tuple(kind or ()), paused=paused)

    made, secret = with_admin(load_settings(config), work, by=by)
    number = made.id
    _print_secret(number, secret, "created", as_json=as_json)


def list_(account: AccountOption = None, as_json: JsonOption = False, config: ConfigOption = None) -> None:
    """List webhooks, with what waits for each."""
    from mta.admin import webhooks

    found = with_admin(load_settings(config), lambda context: webhooks.list_all(context, account))
    if as_json:
        print_json([_fields(each) for each in found])
        return
    columns = (
        Column("webhook", numeric=True),
        Column("account", whole=True),
        "URL",
        Column("kinds", optional=True),
        "waiting",
        "state",
    )
    rows = [
        (each.id, each.account, each.url, ", ".join(each.kinds) or "all", _waiting(each), _state(each))
        for each in found
    ]
    print_table(columns, rows, empty="No webhooks.")


def show(number: NumberArgument, as_json: JsonOption = False, config: ConfigOption = None) -> None:
    """Show how far a webhook has come, and its last error."""
    from mta.admin import webhooks

    found = with_admin(load_settings(config), lambda context: webhooks.find(context, number))
    if as_json:
        print_json(_fields(found))
        return
    failing = bool(found.failures) and found.paused_at is None
    print_details(
        f"Webhook {found.id}",
        (
            ("account", found.account),
            ("URL", found.url),
            ("kinds", ", ".join(found.kinds) or "all"),
            ("state", _state(found)),
            ("accepted", f"up to event {found.cursor}"),
            ("last success", f"{moment(found.last_success_at)} UTC" if found.last_success_at else "never"),
            ("waiting", _waiting(found)),
            ("last error", found.last_error if failing else None),
            ("next attempt", relative(found.due_at, datetime.now(UTC)) if failing else None),
        ),
    )


def send_test(number: NumberArgument, config: ConfigOption = None) -> None:
    """Send one signed event of kind `test` now. Exit status 1 if it is not accepted."""
    from mta.admin import webhooks

    if problem := with_admin(load_settings(config), lambda context: webhooks.send_test(context, number)):
        fail(f"webhook {number} did not accept it: {problem}")
    print(f"Webhook {number} accepted the event.")


def pause(number: NumberArgument, by: ByOption = None, config: ConfigOption = None) -> None:
    """Send nothing until `resume`. Events are kept for it."""
    from mta.admin import webhooks

    with_admin(load_settings(config), lambda context: webhooks.pause(context, number), by=by)
    print(f"Webhook {number} paused; its events are kept.")


def resume(number: NumberArgument, by: ByOption = None, config: ConfigOption = None) -> None:
    """Continue where it stopped, at once; also skips the wait for the next attempt."""
    from mta.admin import webhooks

    with_admin(load_settings(config), lambda context: webhooks.resume(context, number), by=by)
    print(f"Webhook {number} resumed.")


def rotate(
    number: NumberArgument, by: ByOption = None, as_json: JsonOption = False, config: ConfigOption = None
) -> None:
    """Create a new secret, shown only once. For a day requests are signed with both."""
    from mta.admin import webhooks

    secret = with_admin(load_settings(config), lambda context: webhooks.rotate(context, number), by=by)
    _print_secret(number, secret, "has a new secret", as_json=as_json)


def remove(
    number: NumberArgument,
    reason: ReasonOption = "",
    by: ByOption = None,
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    config: ConfigOption = None,
) -> None:
    """Remove a webhook. Events that it has not accepted are lost to it."""
    from mta.admin import webhooks

    settings = load_settings(config)
    if dry_run:
        found = with_admin(settings, lambda context: webhooks.find(context, number))
        print(f"Webhook {number} ({found.url}) would be removed; events lost to it: {_waiting(found)}.")
        return
    confirm(f"Remove webhook {number}?", yes=yes)
    with_admin(settings, lambda context: webhooks.remove(context, number, reason=reason), by=by)
    print(f"Webhook {number} removed.")


def _print_secret(number: int, secret: str, what: str, *, as_json: bool) -> None:
    if as_json:
        print_json({"webhook": number, "secret": secret})
        return
    print(f"Webhook {number} {what}. Its secret is shown only once:\n\n    {secret}\n")
    print("The receiver uses it to check the signature of each request (docs/webhooks.md).")


def _state(webhook: WebhookDetails) -> str:
    if webhook.paused_at is not None:
        return "paused"
    if webhook.failures:
        return f"failed {webhook.failures} times in a row" if webhook.failures > 1 else "failed once"
    return "active"


def _waiting(webhook: WebhookDetails) -> str:
    if not webhook.waiting:
        return "none"
    count = f"more than {_COUNTED}" if webhook.waiting > _COUNTED else str(webhook.waiting)
    return f"{count}, since {moment(webhook.oldest)}" if webhook.oldest else count


def _fields(webhook: WebhookDetails) -> dict[str, Any]:
    return {**plain(webhook), "state": _state(webhook)}

"""``mta account review`` to ``terminate``, and ``history``.

Invariants: no account changes its status without a record of who did it and why.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mta.cli.account import readiness
from mta.cli.context import load_settings, with_admin, with_store
from mta.cli.options import (
    AccountArgument,
    ConfigOption,
    DryRunOption,
    JsonOption,
    LimitOption,
    ReasonOption,
    YesOption,
    confirm,
)
from mta.cli.output import fail, minute, print_json, print_table
from policy.accounts.account import StatusChange
from policy.accounts.sender_domain import DomainCheck

if TYPE_CHECKING:
    from mta.admin.context import AdminContext
    from mta.store.accounts.account_status import StatusChanged
    from mta.store.journal.account_changes import AccountChange
    from mta.store.store import Store

CaseOption = Annotated[str, typer.Option("--case", metavar="CASE", help="The complaint case behind it: C-17.")]


def register(accounts: typer.Typer) -> None:
    for name, command in (
        ("check", readiness.check),
        ("review", review),
        ("request-changes", request_changes),
        ("approve", approve),
        ("suspend", suspend),
        ("resume", resume),
        ("terminate", terminate),
        ("history", history),
    ):
        accounts.command(name)(command)


def review(
    name: AccountArgument,
    force: Annotated[bool, typer.Option("--force", help="Submit even if something is missing.")] = False,
    config: ConfigOption = None,
) -> None:
    """Submit an account for review, once everything that a reviewer needs is there."""
    from mta.admin.senders import accounts

    async def work(context: AdminContext) -> None:
        lacks = [] if force else await accounts.missing(context, name)
        if lacks:
            missing = "\n".join(f"  {lack.text}: {lack.remedy}" for lack in lacks)
            fail(f"{name} is not ready for review:\n{missing}\n--force submits it all the same.")
        await accounts.submit_for_review(context, name, force=force)

    with_admin(load_settings(config), work)
    print(
        f"Account {name} submitted for review: `mta account approve {name}`, or "
        f"`mta account request-changes {name} --reason TEXT`."
    )


def request_changes(name: AccountArgument, reason: ReasonOption, config: ConfigOption = None) -> None:
    """Return an account to its owner, who must change something first."""
    _change(config, name, StatusChange.REQUEST_CHANGES, reason)
    print(f"Account {name} pending again: {reason}")


def approve(name: AccountArgument, reason: ReasonOption = "", config: ConfigOption = None) -> None:
    """Let a reviewed account send."""
    _change(config, name, StatusChange.APPROVE, reason)
    print(f"Account {name} approved; it is active.")


def suspend(name: AccountArgument, reason: ReasonOption, case: CaseOption = "", config: ConfigOption = None) -> None:
    """Stop an account from sending, and hold its queue until `resume`."""
    done = _change(config, name, StatusChange.SUSPEND, reason, case)
    print(f"Account {name} suspended; {done.recipients} queued recipients held.")


def resume(name: AccountArgument, reason: ReasonOption = "", config: ConfigOption = None) -> None:
    """Let a suspended account send again, and release what the suspension held."""
    done = _change(config, name, StatusChange.RESUME, reason)
    more = f" {done.still_held} of them have other holds." if done.still_held else ""
    print(f"Account {name} resumed; {done.recipients} held recipients released.{more}")


def terminate(
    name: AccountArgument,
    reason: ReasonOption,
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    config: ConfigOption = None,
) -> None:
    """End a suspended account for good: its queue is bounced, its credentials end; suppressions and evidence stay."""
    if dry_run:
        done = _change(config, name, StatusChange.TERMINATE, reason, dry_run=True)
        print(f"Account {name} would be terminated; {done.recipients} queued recipients would be bounced.")
        return
    confirm(f"Terminate {name}? This cannot be undone.", yes=yes)
    done = _change(config, name, StatusChange.TERMINATE, reason)
    print(f"Account {name} terminated; {done.recipients} queued recipients bounced.")


def history(
    name: AccountArgument,
    limit: LimitOption = 100,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """List who changed what of an account, when and why."""

    async def work(store: Store) -> Sequence[AccountChange]:
        return await store.accounts.history((await store.accounts.find(name)).account.id, limit)

    changes = list(reversed(with_store(load_settings(config), work)))
    if as_json:
        print_json(changes)
        return
    rows = [(minute(each.at), each.by or "unknown", each.kind.value, _told(each)) for each in changes]
    print_table(("at", "by", "what", "change"), rows, empty=f"No changes of {name} are recorded.", limit=limit)


def _change(
    config: Path | None, name: str, change: StatusChange, reason: str = "", case: str = "", *, dry_run: bool = False
) -> StatusChanged:
    from mta.admin.senders import accounts

    return with_admin(
        load_settings(config),
        lambda context: accounts.change_status(context, name, change, reason=reason, case=case, dry_run=dry_run),
    )


def _told(change: AccountChange) -> str:
    """Return a change in one line."""
    from mta.store.journal.account_changes import AccountChangeKind

    data = change.data
    if change.kind is AccountChangeKind.STATUS:
        case = f" (case {data['case']})" if data.get("case") else ""
        reason = f": {data['reason']}{case}" if data["reason"] else ""
        queued = f"; {data['recipients']} queued recipients" if data.get("recipients") else ""
        return f"{data['from'] or 'new'} -> {data['to']}{reason}{queued}"
    if "found" in data:
        marks = (f"{each.value} {data['found'][each.value].partition(':')[0]}" for each in DomainCheck)
        return f"{data['looked for']}: {'verified' if data['verified'] else 'not verified'}; {', '.join(marks)}"
    said = {name: ", ".join(map(str, value)) if isinstance(value, list) else value for name, value in data.items()}
    return "; ".join(f"{name} {value}" for name, value in said.items() if value not in ("", None))

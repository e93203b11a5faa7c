"""``mta account review`` to ``terminate``: the life of an account, its history, and what it lacks.

It must never move an account without writing down who did it, and why.

*Limits.* Who did it is the name of the user that runs the command.
"""

from __future__ import annotations

from typing import Annotated

import typer

from mta.cli import account_check, account_print
from mta.cli.account_options import JsonOption, NameArgument, ReasonOption
from mta.cli.account_steps import find, refusable
from mta.cli.context import load_profiles, load_settings, with_store
from mta.cli.options import ConfigOption, operator
from mta.cli.output import fail
from mta.store.accounts.account_status import StatusChanged
from mta.store.store import Store
from policy.accounts.account import StatusChange, Stream
from policy.profile import UnknownProfile

CaseOption = Annotated[str, typer.Option("--case", metavar="NUMBER", help="The complaint case behind it.")]
AnywayOption = Annotated[bool, typer.Option("--anyway", help="Whatever is missing.")]


def register(group: typer.Typer) -> None:
    for name, command in (
        ("check", check),
        ("review", review),
        ("return", return_),
        ("approve", approve),
        ("suspend", suspend),
        ("resume", resume),
        ("terminate", terminate),
        ("history", history),
    ):
        group.command(name)(command)


def check(name: NameArgument, as_json: JsonOption = False, config: ConfigOption = None) -> None:
    """Say what an account lacks, with the command that mends it, after a look at its domains in the DNS.

    Exit status 1 if something is missing. A domain whose records are all there is verified by this.
    """
    settings = load_settings(config)
    marketing = _has_marketing(config)
    state = with_store(settings, lambda store: account_check.look(settings, store, name, marketing))
    account_check.show(state, as_json=as_json)
    if not state.is_complete:
        raise typer.Exit(1)


def review(name: NameArgument, anyway: AnywayOption = False, config: ConfigOption = None) -> None:
    """Hand an account in for review, once all that a reviewer needs is there."""
    settings = load_settings(config)
    marketing = _has_marketing(config)

    async def work(store: Store) -> None:
        state = await account_check.recall(settings, store, name, marketing)
        if state.lacks and not anyway:
            missing = "\n".join(f"  {lack.text}: {lack.mend}" for lack in state.lacks)
            fail(f"{name} is not ready for review:\n{missing}\n--anyway hands it in all the same.")
        await _move(store, name, StatusChange.REVIEW, "")

    with_store(settings, work)
    print(f"{name} waits for a reviewer: mta account approve {name}, or mta account return {name} --reason WHY")


def return_(name: NameArgument, reason: ReasonOption, config: ConfigOption = None) -> None:
    """Send an account back to its owner for more."""
    with_store(load_settings(config), lambda store: _move(store, name, StatusChange.RETURN, reason))
    print(f"{name} is pending again: {reason}")


def approve(name: NameArgument, reason: ReasonOption = "", config: ConfigOption = None) -> None:
    """Let a reviewed account send."""
    with_store(load_settings(config), lambda store: _move(store, name, StatusChange.APPROVE, reason))
    print(f"{name} is active.")


def suspend(name: NameArgument, reason: ReasonOption, case: CaseOption = "", config: ConfigOption = None) -> None:
    """Let an account send no more, and hold what it has queued."""
    moved = with_store(load_settings(config), lambda store: _move(store, name, StatusChange.SUSPEND, reason, case))
    print(f"{name} is suspended; {moved.recipients} queued recipients are held.")


def resume(name: NameArgument, reason: ReasonOption = "", config: ConfigOption = None) -> None:
    """Let a suspended account send again, and release what the suspension held."""
    moved = with_store(load_settings(config), lambda store: _move(store, name, StatusChange.RESUME, reason))
    print(f"{name} is active again; {moved.recipients} held recipients are released.")


def terminate(
    name: NameArgument,
    reason: ReasonOption,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    config: ConfigOption = None,
) -> None:
    """End a suspended account for good: what is queued fails, its credentials end; suppressions and evidence stay."""
    if not yes:
        typer.confirm(f"End {name} for good?", abort=True)
    moved = with_store(load_settings(config), lambda store: _move(store, name, StatusChange.TERMINATE, reason))
    print(f"{name} is terminated; {moved.recipients} queued recipients fail.")


def history(
    name: NameArgument,
    limit: Annotated[int, typer.Option(min=1, help="Only the last so many changes.")] = 100,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Tell who changed what of an account, when and why."""

    async def work(store: Store) -> None:
        details = await find(store, name)
        account_print.print_history(await store.accounts.history(details.account.id, limit), as_json=as_json)

    with_store(load_settings(config), work)


async def _move(store: Store, name: str, move: StatusChange, reason: str, case: str = "") -> StatusChanged:
    details = await find(store, name)
    return await refusable(store.account_status.move(details.account.id, move, by=operator(), reason=reason, case=case))


def _has_marketing(config: ConfigOption) -> account_check.HasMarketing:
    """Whether a profile has marketing mail; None for one that does not exist."""
    profiles = load_profiles(config)

    def has(profile: str) -> bool | None:
        try:
            return profiles.chain(profile, Stream.MARKETING) is not None
        except UnknownProfile:
            return None

    return has

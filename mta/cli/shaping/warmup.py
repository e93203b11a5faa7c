"""``mta warmup``: what each source that warms up may send to each provider today, and what it has sent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from mta.cli.context import load_settings, with_admin
from mta.cli.options import ByOption, ConfigOption, DryRunOption, JsonOption, ReasonOption
from mta.cli.output import Column, fail, print_json, print_lines, print_table
from mta.cli.shaping.scope import SourceOption

if TYPE_CHECKING:
    from mta.admin.context import AdminContext
    from mta.admin.warmup import WarmupState

HELP = "Sources that warm up: planned and sent, per source and provider. Without a command: today."

SourceArgument = Annotated[str, typer.Argument(metavar="SOURCE", help="Name of the source.")]
ProviderArgument = Annotated[
    str, typer.Argument(metavar="PROVIDER", help="Name of the provider, or `default` for all other sites together.")
]
AllOption = Annotated[bool, typer.Option("--all", help="Also those that have sent nothing yet, or are warm.")]

_COLUMNS = (
    Column("source", whole=True),
    Column("provider", whole=True),
    "day",
    Column("planned", numeric=True),
    Column("sent", numeric=True),
    Column("good", numeric=True, optional=True),
    Column("bad", numeric=True),
    Column("tomorrow", numeric=True, optional=True),
    "state",
)


def register(app: typer.Typer) -> None:
    commands = typer.Typer(help=HELP, rich_markup_mode="markdown")
    commands.callback(invoke_without_command=True, help=HELP)(summary)
    commands.command("resume")(resume)
    commands.command("set")(set_)
    app.add_typer(commands, name="warmup")


def summary(
    context: typer.Context,
    source: SourceOption = None,
    everything: AllOption = False,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    if context.invoked_subcommand:
        return
    from mta.admin import warmup

    found = with_admin(load_settings(config), warmup.list_all)
    if not found:
        fail("no source warms up; say so with [[shaping.warmup]] (docs/shaping.md)")
    states = [each for each in found if source in (None, each.plan.source)]
    if as_json:
        print_json([_fields(each) for each in states])
        return
    shown = [each for each in states if everything or (each.latest is not None and each.planned is not None)]
    print_table(_COLUMNS, [_cells(each) for each in shown], empty="Nothing that warms up has sent mail yet (--all).")
    if hidden := len(states) - len(shown):
        print_lines([(f"{hidden} more that are warm or have sent nothing yet: --all", "dim")])


def resume(
    source: SourceArgument,
    provider: ProviderArgument,
    reason: ReasonOption,
    by: ByOption = None,
    config: ConfigOption = None,
) -> None:
    """End today's pause of a source at a provider: it sends on, and today's bad answers are forgotten."""
    from mta.admin import warmup

    with_admin(load_settings(config), lambda admin: warmup.resume(admin, source, provider, reason=reason), by=by)
    print_lines([(f"{source} goes on warming up at {provider}.", "")])


def set_(
    source: SourceArgument,
    provider: ProviderArgument,
    day: Annotated[int, typer.Option("--day", min=1, metavar="N", help="The day of the curve, from 1.")],
    reason: ReasonOption,
    by: ByOption = None,
    dry_run: DryRunOption = False,
    config: ConfigOption = None,
) -> None:
    """Let today be day N of a source's curve at a provider; a day after the last one makes it warm."""
    from mta.admin import warmup

    async def work(admin: AdminContext) -> tuple[int | None, str]:
        planned = warmup.planned_on(admin, source, provider, day)
        if not dry_run:
            await warmup.set_day(admin, source, provider, day, reason=reason)
        return planned, warmup.find_plan(admin, source, provider).curve

    planned, curve = with_admin(load_settings(config), work, by=by)
    what = "as much as its limits allow (warm)" if planned is None else f"{planned} recipients"
    verb = "would send" if dry_run else "sends"
    print_lines([(f"{source} {verb} {what} to {provider} today, day {day} of curve {curve}.", "")])


def _cells(state: WarmupState) -> tuple[str, ...]:
    return (
        state.plan.source,
        state.plan.provider,
        f"{state.step + 1}/{len(state.plan.daily)}" if state.planned is not None else "-",
        str(state.planned) if state.planned is not None else "all",
        *(str(getattr(state.day, name) if state.day else 0) for name in ("used", "good", "bad")),
        str(state.tomorrow) if state.tomorrow is not None else "all",
        state.text,
    )


def _fields(state: WarmupState) -> dict[str, Any]:
    return {
        "source": state.plan.source,
        "provider": state.plan.provider,
        "curve": state.plan.curve,
        "day": state.step + 1,
        "days": len(state.plan.daily),
        "planned": state.planned,
        "sent": state.used,
        "good": state.day.good if state.day else 0,
        "bad": state.day.bad if state.day else 0,
        "tomorrow": state.tomorrow,
        "paused": state.paused,
        "last_day": state.latest.day if state.latest else None,
        "state": state.text,
    }

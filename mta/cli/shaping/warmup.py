"""``mta warmup``: what each source that warms up may send to each provider today, and what it has sent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mta.cli.context import load_settings, with_store
from mta.cli.options import ByOption, ConfigOption, DryRunOption, JsonOption, ReasonOption, operator
from mta.cli.output import Column, fail, print_json, print_lines, print_table
from mta.cli.shaping.scope import SourceOption

if TYPE_CHECKING:
    from config.schema import Settings
    from mta.delivery.egress.warmup import WarmupPlan
    from mta.mail.warmup import WarmupDay
    from mta.store.store import Store

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


@dataclass(frozen=True, slots=True)
class _Row:
    """A plan, the day that it is on today, and the one that follows if it ends as it is now. ``day``: None if nothing
    was sent yet."""

    plan: WarmupPlan
    day: WarmupDay | None
    today: date

    @property
    def is_of_today(self) -> bool:
        return self.day is not None and self.day.day == self.today

    @property
    def step(self) -> int:
        return self.day.step if self.day and self.is_of_today else self.plan.step_on(self.today, self.day)

    @property
    def planned(self) -> int | None:
        return self.plan.planned(self.step)

    @property
    def tomorrow(self) -> int | None:
        """Recipients planned for the next day on which there is mail."""
        if self.day is None or not self.is_of_today:
            return self.planned
        return self.plan.planned(self.plan.step_on(self.today + timedelta(days=1), self.day))

    @property
    def state(self) -> str:
        if self.planned is None:
            return "warm"
        if self.day is None:
            return "not begun"
        if not self.is_of_today:
            return f"no mail today, last on {self.day.day}"
        return f"paused until midnight UTC: {self.day.paused}" if self.day.paused else "warming up"


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
    settings = load_settings(config)
    plans = [plan for plan in _plans(settings) if source in (None, plan.source)]
    known = {(day.source, day.provider): day for day in with_store(settings, lambda store: store.warmup_days.latest())}
    rows = _rows(plans, known)
    if as_json:
        print_json([_fields(row) for row in rows])
        return
    shown = [row for row in rows if everything or (row.day is not None and row.planned is not None)]
    print_table(_COLUMNS, [_cells(row) for row in shown], empty="Nothing that warms up has sent mail yet (--all).")
    if hidden := len(rows) - len(shown):
        print_lines([(f"{hidden} more that are warm or have sent nothing yet: --all", "dim")])


def resume(
    source: SourceArgument,
    provider: ProviderArgument,
    reason: ReasonOption,
    by: ByOption = None,
    config: ConfigOption = None,
) -> None:
    """End today's pause of a source at a provider: it sends on, and today's bad answers are forgotten."""
    settings = load_settings(config)
    _plan(settings, source, provider)
    who = by or operator()
    if not with_store(settings, lambda store: store.warmup_days.resume(source, provider, by=who, reason=reason)):
        fail(f"{source} is not paused at {provider} today")
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
    settings = load_settings(config)
    plan, who = _plan(settings, source, provider), by or operator()
    if day > len(plan.daily) + 1:
        fail(
            f"curve {plan.curve} has {len(plan.daily)} days; --day {len(plan.daily) + 1} makes the source warm",
            status=2,
        )
    planned = plan.planned(day - 1)
    what = "as much as its limits allow (warm)" if planned is None else f"{planned} recipients"

    async def work(store: Store) -> None:
        await store.warmup_days.set_step(source, provider, day - 1, by=who, reason=reason)

    if not dry_run:
        with_store(settings, work)
    verb = "would send" if dry_run else "sends"
    print_lines([(f"{source} {verb} {what} to {provider} today, day {day} of curve {plan.curve}.", "")])


def _plans(settings: Settings) -> Sequence[WarmupPlan]:
    from mta.delivery.egress.pools import SourcePools
    from mta.delivery.egress.warmup import WarmupPlans

    plans = WarmupPlans(settings.shaping, SourcePools(settings.egress)).all()
    if not plans:
        fail("no source warms up; say so with [[shaping.warmup]] (docs/shaping.md)")
    return plans


def _plan(settings: Settings, source: str, provider: str) -> WarmupPlan:
    plans = _plans(settings)
    found = next((plan for plan in plans if (plan.source, plan.provider) == (source, provider)), None)
    if found is None:
        names = ", ".join(sorted({plan.provider for plan in plans if plan.source == source})) or "none"
        fail(f"{source} does not warm up at {provider!r}; it does at: {names}", status=2)
    return found


def _rows(plans: Sequence[WarmupPlan], known: Mapping[tuple[str, str], WarmupDay]) -> list[_Row]:
    today = datetime.now(UTC).date()
    rows = [_Row(plan, known.get((plan.source, plan.provider)), today) for plan in plans]
    return sorted(rows, key=lambda row: (row.plan.source, row.plan.provider))


def _cells(row: _Row) -> tuple[str, ...]:
    day = row.day if row.is_of_today else None
    return (
        row.plan.source,
        row.plan.provider,
        f"{row.step + 1}/{len(row.plan.daily)}" if row.planned is not None else "-",
        str(row.planned) if row.planned is not None else "all",
        *(str(getattr(day, name) if day else 0) for name in ("used", "good", "bad")),
        str(row.tomorrow) if row.tomorrow is not None else "all",
        row.state,
    )


def _fields(row: _Row) -> dict[str, Any]:
    day = row.day if row.is_of_today else None
    return {
        "source": row.plan.source,
        "provider": row.plan.provider,
        "curve": row.plan.curve,
        "day": row.step + 1,
        "days": len(row.plan.daily),
        "planned": row.planned,
        "sent": day.used if day else 0,
        "good": day.good if day else 0,
        "bad": day.bad if day else 0,
        "tomorrow": row.tomorrow,
        "paused": day.paused if day else "",
        "last_day": row.day.day if row.day else None,
        "state": row.state,
    }

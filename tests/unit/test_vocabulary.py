"""No name that users see is an old one: the table "Old words" in ``docs/glossary.md`` against the real surfaces.

Each surface is collected from where the names come from: the settings' schema, the typer application, the SQL schema,
the declared metrics, the event types. A row says on which surface its word is forbidden; ``anywhere`` forbids it as a
part of any name.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import pytest
import typer
from typer.main import get_command

from config.schema import Settings
from config.types import Section
from mta.cli import main as cli
from mta.observe import events
from mta.observe.metrics import Metrics
from tests.metric_names import full_name

ROOT = Path(__file__).parents[2]
GLOSSARY = ROOT / "docs/glossary.md"
SCHEMA = ROOT / "mta/store/postgres/schema"


@dataclass(frozen=True, slots=True)
class Row:
    """A row of the table: an old name, what it is called now, and its surface."""

    old: str
    new: tuple[str, ...]
    where: str


def old_words(text: str) -> list[Row]:
    """Return the rows of the table below the heading "Old words"."""
    table = text.partition("\n## Old words\n")[2].partition("\n## ")[0]
    cells = (line.strip("| ").split(" | ") for line in table.splitlines() if line.startswith("| `"))
    return [Row(old.strip("`"), tuple(new.replace("`", "").split(", ")), where) for old, new, where in cells]


# --- surfaces


def config_keys(section: type[Section] = Settings) -> set[str]:
    """Return every section and key as a dotted path."""
    schema = section.model_json_schema()

    def walk(part: dict[str, Any], path: str) -> Iterator[str]:
        part = schema["$defs"][part["$ref"].rpartition("/")[2]] if "$ref" in part else part
        for name, below in part.get("properties", {}).items():
            here = f"{path}.{name}".lstrip(".")
            yield here
            yield from walk(below.get("items", below), here)

    return set(walk(schema, ""))


def _commands(app: typer.Typer) -> Iterator[tuple[str, Any]]:
    def walk(command: Any, path: str) -> Iterator[tuple[str, Any]]:
        yield path, command
        for name, below in getattr(command, "commands", {}).items():
            yield from walk(below, f"{path} {name}")

    return walk(get_command(app), "mta")


def command_names(app: typer.Typer | None = None) -> set[str]:
    return {path for path, _ in _commands(app or cli.build())}


def option_names(app: typer.Typer | None = None) -> set[str]:
    return {
        name
        for _, command in _commands(app or cli.build())
        for option in command.params
        for name in (*option.opts, *option.secondary_opts)
        if name.startswith("-")
    }


def _tables(sql: str) -> Iterator[tuple[str, str]]:
    """Yield each table with the text between its parentheses."""
    sql = re.sub(r"--[^\n]*|'[^']*'", "", sql)
    for match in re.finditer(r"create (?:unlogged )?table (?:if not exists )?(\w+) \(", sql):
        end, depth = match.end(), 1
        while depth:
            depth += {"(": 1, ")": -1}.get(sql[end], 0)
            end += 1
        yield match[1], sql[match.end() : end - 1]


def _schema() -> str:
    return "\n".join(path.read_text(encoding="utf-8") for path in sorted(SCHEMA.glob("*.sql")))


def table_names(sql: str | None = None) -> set[str]:
    return {name for name, _ in _tables(sql or _schema())}


def column_names(sql: str | None = None) -> set[str]:
    constraints = {"primary", "unique", "check", "foreign", "constraint", "exclude", "like"}
    return {
        f"{table}.{column}"
        for table, body in _tables(sql or _schema())
        for definition in re.split(r",(?![^(]*\))", body)
        if (column := definition.split()[0]) not in constraints
    }


def metric_names(metrics: Metrics | None = None) -> set[str]:
    """Return every metric as Prometheus shows it, and its labels as ``name{label}``."""
    families = (metrics or Metrics()).counters.families
    return {full_name(each) for each in families} | {
        f"{full_name(each)}{{{label}}}" for each in families for label in each.labels
    }


def event_names(types: Iterable[type[msgspec.Struct]] = events.EVENTS) -> set[str]:
    """Return the kinds of the event log with their fields (``kind.field``), and the kinds kept in the database."""
    logged = {str(each.__struct_config__.tag): each.__struct_fields__ for each in types}
    return (
        set(logged)
        | {f"{kind}.{field}" for kind, fields in logged.items() for field in fields}
        | _kinds_documented()
        | _kinds_in_code()
    )


def _kinds_documented() -> set[str]:
    """Return the first column of the table of kinds in ``docs/webhooks.md``."""
    text = (ROOT / "docs/webhooks.md").read_text(encoding="utf-8")
    table = text.partition("\n| `accepted` |")
    rows = ["| `accepted` |", *table[2].partition("\n\n")[0].splitlines()[1:]]
    return {kind for row in rows for kind in re.findall(r"`(\w+)`", row.split(" | ")[0])}


def _kinds_in_code() -> set[str]:
    """Return the kinds that the product writes: ``kind="..."`` and ``RecordEvent(key, "...")`` in Python, literals
    inserted into ``event`` in SQL."""
    kinds: set[str] = set()
    for folder in ("mta/reports", "mta/store", "mta/queue"):
        for path in (ROOT / folder).rglob("*.py"):
            text = path.read_text(encoding="utf-8")
            kinds |= set(re.findall(r"insert into event \(kind, data\)\s+(?:values \(|select )'(\w+)'", text))
            for node in ast.walk(ast.parse(text)):
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "RecordEvent":
                    kinds |= {each.value for each in node.args[1:2] if _is_text(each)}  # type: ignore[attr-defined]
                if isinstance(node, ast.keyword) and node.arg == "kind":
                    kinds |= {each.value for each in ast.walk(node.value) if _is_text(each)}  # type: ignore[attr-defined]
    return kinds


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


@cache
def surface(where: str) -> frozenset[str]:
    """Return the names of one surface of the product."""
    return frozenset(SURFACES[where]())


SURFACES: dict[str, Callable[[], set[str]]] = {
    "command": command_names,
    "option": option_names,
    "config": config_keys,
    "table": table_names,
    "column": column_names,
    "metric": metric_names,
    "event": event_names,
}


def offenders(rows: Iterable[Row], names: Callable[[str], Collection[str]]) -> list[str]:
    """Return a line for each old name that is in use."""
    found = []
    for row in rows:
        for where in SURFACES if row.where == "anywhere" else [row.where]:
            for name in names(where):
                parts = set(re.split(r"[\W_]+", name)) if row.where == "anywhere" else {name}
                if parts & ({row.old, f"{row.old}s"} if row.where == "anywhere" else {row.old}):
                    found.append(f"{where} {name!r}: {row.old} is now {', '.join(row.new)}")
    return sorted(found)


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    return old_words(GLOSSARY.read_text(encoding="utf-8"))


def test_no_old_word_is_in_use(rows: list[Row]) -> None:
    assert offenders(rows, surface) == []


def test_new_words_exist(rows: list[Row]) -> None:
    missing = [
        f"{row.where} {new}"
        for row in rows
        if row.where in SURFACES
        for new in row.new
        if new not in surface(row.where)
    ]
    assert missing == []


def test_every_row_is_understood(rows: list[Row]) -> None:
    text = GLOSSARY.read_text(encoding="utf-8").partition("\n## Old words\n")[2].partition("\n## ")[0]
    assert len(rows) == sum(line.startswith("| ") for line in text.splitlines()) - 1 > 50
    assert {row.where for row in rows} - {"anywhere"} == set(SURFACES)
    assert all(row.new for row in rows)


@pytest.mark.parametrize(
    ("where", "current"),
    [
        ("command", "mta account credential add"),
        ("option", "--json"),
        ("config", "blocklists.lists.answers.codes"),
        ("table", "delivery_stats"),
        ("column", "queue.recipient_index"),
        ("metric", "imprimatur_backoffs_total"),
        ("metric", "imprimatur_inbound_reports_total{kind}"),
        ("event", "destination_backoff.site"),
        ("event", "destination_backoff.source"),
        ("event", "unsuppressed"),
        ("event", "bounced_async"),
    ],
)
def test_each_surface_is_seen(where: str, current: str) -> None:
    found = offenders([Row(current, ("x",), where)], surface)
    assert found == [f"{where} {current!r}: {current} is now x"]


class _OldSettings(Section):
    class Queue(Section):
        retry: int = 1

    permission: int = 1
    queue: list[Queue] = []  # noqa: RUF012


class _OldEvent(msgspec.Struct, tag_field="event", tag="refused"):
    lanes: str


_OLD_SQL = """
create table tally (          -- create table not_this (
    kind text check (kind in ('a', 'b')),
    n    numeric(3, 1) default (1),
    primary key (kind, n)
);
create table queue (n int);
"""


def _old_command(because: str = typer.Option("", "--because")) -> None: ...


def test_planted_words_are_found(rows: list[Row]) -> None:
    app, group, metrics = typer.Typer(), typer.Typer(), Metrics()
    group.command("agree")(_old_command)
    group.command("other")(_old_command)
    app.add_typer(group, name="case")
    metrics.counters.counter("rests", "planted")
    assert column_names(_OLD_SQL) == {"tally.kind", "tally.n", "queue.n"}
    planted = {
        "command": command_names(app),
        "option": option_names(app),
        "config": config_keys(_OldSettings),
        "table": table_names(_OLD_SQL),
        "column": column_names(_OLD_SQL),
        "metric": metric_names(metrics),
        "event": event_names([_OldEvent]),
    }
    assert {line.partition(": ")[0] for line in offenders(rows, planted.__getitem__)} == {
        "command 'mta case'",
        "command 'mta case agree'",
        "option '--because'",
        "config 'permission'",
        "config 'queue.retry'",
        "table 'tally'",
        "column 'tally.kind'",
        "column 'tally.n'",
        "column 'queue.n'",
        "metric 'imprimatur_rests_total'",
        "event 'refused'",
        "event 'refused.lanes'",
    }

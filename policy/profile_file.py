"""A profile's file: its schema, and the mistakes in it.

The schema is built from the installed rules, so that each setting of each rule is checked, with its line, by
the same code as the main configuration.

Invariants: no rule is known by name, and no second file is read: inheritance is the job of ``policy.profile``.

Limitations: a setting that is itself a table is inherited or replaced as a whole.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Annotated, Any

from pydantic import Field, StringConstraints, WithJsonSchema, create_model

from config.toml import Mistake, read
from config.types import Section
from policy.accounts.account import Stream
from policy.chain import Failing
from policy.permission.address_list import ListThresholds
from policy.permission.mailbox import Copies
from policy.permission.suppression import Lifting
from policy.plugins import Installed
from policy.reputation.breaker import Thresholds
from policy.reputation.complaint import Clocks

NAME = r"^[a-z][a-z0-9]*([-_][a-z0-9]+)*$"
Name = Annotated[
    str, StringConstraints(pattern=NAME, max_length=60), WithJsonSchema({"type": "string", "format": "rule-name"})
]
TABLES = (
    "complaints",
    "breakers",
    "suppressions",
    "copies",
    "lists",
)  # besides the streams and the rules; inherited key by key
_FIELD = "rule_"  # before a rule's name, so that no rule can hide an attribute of the model


class StreamTable(Section):
    """One stream's chain. Without this table, own or inherited, the profile does not allow the stream."""

    chain: list[Name] | None = None
    """The rules, in order; the inherited ones if not given."""
    also: list[Name] = Field(default_factory=list)
    """Rules added after the inherited ones."""
    without: list[Name] = Field(default_factory=list)
    """Inherited rules to leave out."""
    observe: list[Name] | None = None
    """Rules of the chain that are only recorded; the inherited ones if not given."""
    failing: Annotated[Failing | None, Field(strict=False)] = None
    """What to do if some recipients are rejected: `refuse_all` (the default) or `drop`."""


class ProfileFile(Section):
    """What is common to all profile files."""

    extends: Name | None = None
    """The profile that this one extends."""
    about: str = ""
    """Its purpose, in one sentence."""
    certified: bool | None = None
    """Whether its mail may leave from certified sources (if no rule finds fault with it); inherited, otherwise no."""
    complaints: Clocks = Field(default_factory=Clocks)
    """Deadlines of complaint cases."""
    breakers: Thresholds = Field(default_factory=Thresholds)
    """Limits at which bounces and complaints hold mail."""
    suppressions: Lifting = Field(default_factory=Lifting)
    """What may end a suppression."""
    copies: Copies = Field(default_factory=Copies)
    """How many copies of a mailing a mailbox gets."""
    lists: ListThresholds = Field(default_factory=ListThresholds)
    """When an imported list is looked at."""


@dataclass(frozen=True, slots=True)
class Table:
    """One stream's table, read. ``settings``: by rule, the keys that were given."""

    chain: tuple[str, ...] | None
    also: tuple[str, ...]
    without: tuple[str, ...]
    observe: tuple[str, ...] | None
    failing: Failing | None
    settings: dict[str, dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Written:
    """A profile file, read. ``where`` is its name for messages; ``settings`` are those for both streams; ``tables``:
    the keys that were given in each of ``TABLES``."""

    name: str
    where: str
    text: str
    extends: str | None
    about: str
    certified: bool | None
    streams: dict[Stream, Table]
    settings: dict[str, dict[str, Any]]
    tables: dict[str, dict[str, Any]]


class ProfileReader:
    """Reads profile files where ``rules`` are installed; made once for many files, for its schema is large."""

    __slots__ = ("_model", "rules")

    def __init__(self, rules: Installed) -> None:
        self.rules, self._model = rules, _model(rules)

    def read(self, text: str, name: str, where: str) -> Written:
        """The profile in ``text``. Raises ConfigError with every mistake."""
        file = read(text, where, self._model, lambda file: _mistakes(file, self.rules))
        return _written(file, text, name, where)


def _written(file: Any, text: str, name: str, where: str) -> Written:
    streams = {
        stream: _table(getattr(file, stream.value)) for stream in Stream if stream.value in file.model_fields_set
    }
    tables = {table: _keys(getattr(file, table)) for table in TABLES}
    return Written(name, where, text, file.extends, file.about, file.certified, streams, _given(file.rules), tables)


def _model(rules: Installed) -> type[ProfileFile]:
    """The schema of profile files where ``rules`` are installed."""
    fields: dict[str, Any] = {
        f"{_FIELD}{name}": (rule.Settings, Field(default_factory=rule.Settings, alias=name))
        for name, rule in sorted(rules.classes.items())
    }
    for name in rules.broken:  # what is wrong is the rule, not its settings
        fields[f"{_FIELD}{name}"] = (dict[str, Any], Field(default_factory=dict, alias=name))
    settings = create_model("RuleSettings", __base__=Section, **fields)
    stream = create_model("Stream", __base__=StreamTable, rules=(settings, Field(default_factory=settings)))
    tables: dict[str, Any] = {each.value: (stream, Field(default_factory=stream)) for each in Stream}
    return create_model("Profile", __base__=ProfileFile, rules=(settings, Field(default_factory=settings)), **tables)


def _table(table: Any) -> Table:
    return Table(
        chain=None if table.chain is None else tuple(table.chain),
        also=tuple(table.also),
        without=tuple(table.without),
        observe=None if table.observe is None else tuple(table.observe),
        failing=table.failing,
        settings=_given(table.rules),
    )


def _given(settings: Section) -> dict[str, dict[str, Any]]:
    """The keys that were written down, by rule."""
    tables = {field.removeprefix(_FIELD): getattr(settings, field) for field in sorted(settings.model_fields_set)}
    return {name: _keys(table) for name, table in tables.items() if isinstance(table, Section)}


def _keys(table: Section) -> dict[str, Any]:
    """The keys of one table that were written down."""
    return {key: getattr(table, key) for key in sorted(table.model_fields_set)}


def _mistakes(file: Any, rules: Installed) -> Iterator[Mistake]:
    for stream in Stream:
        table: StreamTable = getattr(file, stream.value)
        for key in ("chain", "also", "without", "observe"):
            names: Sequence[str] = getattr(table, key) or ()
            for n, name in enumerate(names):
                path = (stream.value, key, n)
                if name not in rules.classes:
                    yield Mistake(path, unknown_rule(name, rules))
                elif name in names[:n]:
                    yield Mistake(path, f'"{name}" stands there twice; name each rule once')


def unknown_rule(name: str, rules: Installed) -> str:
    """Why ``name`` is no rule that a profile can use."""
    if name in rules.broken:
        return f'the rule "{name}" cannot be used: {rules.broken[name]}'
    return f'there is no rule "{name}"; {meant(name, rules.classes)}'


def meant(name: str, known: Iterable[str]) -> str:
    """``did you mean "x"?``, or all there is."""
    if close := get_close_matches(name, list(known), 1, 0.7):
        return f'did you mean "{close[0]}"?'
    return f"there are {', '.join(sorted(known))}"

"""Profiles: which rules mail must pass, for which stream, with which settings.

A profile is a TOML file; an account names its profile. A profile inherits everything it does not set from the profile
that it extends. The shipped ones are in ``config/profiles``; an operator's file with the name of a shipped one replaces
it, and may extend it (``extends`` with its own name).

Invariants: a mistake never means "no rule": an unknown name, key or value rejects the whole set, with its file and
line, and the profiles in use stay.

Limitations: a setting that is itself a table is inherited or replaced as a whole.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, TypeVar

from config.toml import PROFILES, ConfigError, Mistake, placed, read_text
from config.types import Section
from policy.accounts.account import Grant, Stream
from policy.base import Rule
from policy.chain import Chain, Failing
from policy.permission.address_list import ListThresholds
from policy.permission.mailbox import Copies
from policy.permission.suppression import Lifting
from policy.plugins import Installed, RuleClass, installed
from policy.profile_file import NAME, ProfileReader, Table, Written, meant
from policy.reputation.breaker import Thresholds
from policy.reputation.complaint import Clocks
from policy.rule_context import RuleContext

Made = TypeVar("Made")


class UnknownProfile(LookupError):
    """An account names a profile that is not configured."""

    def __init__(self, name: str, known: Sequence[str]) -> None:
        super().__init__(f'there is no profile "{name}"; {meant(name, known)}')


@dataclass(frozen=True, slots=True)
class StreamRules:
    """One stream of a profile, with all it inherits. ``settings``: by rule, in the order of the chain."""

    chain: Chain
    settings: Mapping[str, Section]


@dataclass(frozen=True, slots=True)
class Handling:
    """How accounts of a profile are handled, beside the rules for their mail."""

    complaints: Clocks
    breakers: Thresholds
    suppressions: Lifting
    copies: Copies
    lists: ListThresholds


@dataclass(frozen=True, slots=True)
class Profile(Handling):
    """A profile ready for use. ``certified``: whether its mail may leave from certified sources. ``line``: what it
    stands on, itself last. ``digest``: 12 characters that change when anything does by which mail is judged."""

    name: str
    about: str
    certified: bool
    where: str
    line: tuple[str, ...]
    streams: Mapping[Stream, StreamRules]
    digest: str


class Profiles:
    """All profiles of an installation. Never changed: a reload makes new ones.

    ``mandatory``: the rules that no profile can leave out, as a chain, for mail that has no profile.
    """

    __slots__ = ("_profiles", "mandatory")

    def __init__(self, profiles: Mapping[str, Profile], mandatory: Chain) -> None:
        self._profiles = dict(sorted(profiles.items()))
        self.mandatory = mandatory

    @classmethod
    def shipped(cls, context: RuleContext) -> Profiles:
        """Return the shipped profiles only."""
        return load_profiles((), context)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._profiles)

    @property
    def handling(self) -> Mapping[str, Handling]:
        """How accounts are handled, by the name of their profile."""
        return self._profiles

    def get(self, name: str) -> Profile:
        """Raises UnknownProfile."""
        try:
            return self._profiles[name]
        except KeyError:
            raise UnknownProfile(name, self.names) from None

    def chain(self, profile: str, stream: Stream) -> Chain | None:
        """The chain for ``stream``; None if ``profile`` does not allow it. Raises UnknownProfile."""
        rules = self.get(profile).streams.get(stream)
        return rules.chain if rules else None

    def settled(self, profile: str, grant: Grant) -> Grant:
        """Return the grant with its streams named; as it is if ``profile`` is unknown."""
        found = self._profiles.get(profile)
        return grant.settled(found.streams) if found else grant

    def enforced(self, profile: str, stream: Stream) -> Chain:
        """Return the chain for ``stream``, or the mandatory rules if ``profile`` is unknown or does not allow it."""
        found = self._profiles.get(profile)
        rules = found.streams.get(stream) if found else None
        return rules.chain if rules else self.mandatory

    def digest(self, profile: str) -> str:
        """Raises UnknownProfile."""
        return self.get(profile).digest


def load_profiles(files: Sequence[Path], context: RuleContext, rules: Installed | None = None) -> Profiles:
    """Load the shipped profiles and those of ``files``. Raises ConfigError with every mistake of every file."""
    reader = ProfileReader(rules) if rules else _reader()
    builder = _Builder(reader.rules, context)
    return Profiles(_made(files, reader, lambda line: _profile(line, builder)), Chain(mandatory=builder.mandatory))


def load_handling(files: Sequence[Path]) -> dict[str, Handling]:
    """Load how accounts are handled, by profile, without building a rule. Raises ConfigError."""
    return _made(files, _reader(), lambda line: Handling(**_handling(line)))


def _made(files: Sequence[Path], reader: ProfileReader, make: Callable[[list[Written]], Made]) -> dict[str, Made]:
    """Return what ``make`` makes of each profile with all it stands on. Raises ConfigError with every mistake."""
    lines: list[str] = []
    written: dict[str, list[Written]] = {}  # by name, a replaced one before what replaces it
    for name, where, path in _named(files, lines):
        try:
            profile = _read(reader, read_text(path), name, where)
        except ConfigError as error:
            lines += error.lines
        else:
            written.setdefault(name, []).append(profile)
    made: dict[str, Made] = {}
    broken = bool(lines)  # then what seems to be missing may stand in a file that could not be read
    for name, layers in written.items():
        try:
            made[name] = make(_ancestry(layers[-1], written, broken=broken))
        except ConfigError as error:
            lines += error.lines
    if lines:
        raise ConfigError(list(dict.fromkeys(lines)))
    return made


@cache
def _reader() -> ProfileReader:
    return ProfileReader(installed())


@lru_cache(64)
def _read(reader: ProfileReader, text: str, name: str, where: str) -> Written:
    """Read a file; a reload finds most of them unchanged. Raises ConfigError."""
    return reader.read(text, name, where)


def _named(files: Sequence[Path], lines: list[str]) -> Iterator[tuple[str, str, Path]]:
    """Name, name for messages, and path of each file; mistakes go to ``lines``."""
    for path in sorted(PROFILES.glob("*.toml")):
        yield path.stem, f"config/profiles/{path.name}", path
    seen: dict[str, Path] = {}
    for path in files:
        if not re.fullmatch(NAME, path.stem):
            lines.append(
                f"{path}: a profile is called after its file: lower-case letters, digits, - and _; rename the file"
            )
        elif path.stem in seen:
            lines.append(f"{path}: {seen[path.stem]} is called {path.stem} too; rename one of them")
        else:
            yield path.stem, str(path), path
        seen.setdefault(path.stem, path)


def _ancestry(own: Written, written: Mapping[str, list[Written]], *, broken: bool) -> list[Written]:
    """``own`` with all it stands on, the lowest first. Raises ConfigError."""
    line = [own]
    while (name := line[0].extends) is not None:
        child = line[0]
        layers = written.get(name, [])
        if name == child.name:
            layers = layers[: layers.index(child)]
        if not layers:
            if broken:
                raise ConfigError([])
            known = [other for other in written if other != child.name]
            raise _wrong(child, [Mistake(("extends",), f'there is no profile "{name}"; {meant(name, known)}')])
        if layers[-1] in line:
            circle = " > ".join(each.name for each in (layers[-1], *line))
            raise _wrong(child, [Mistake(("extends",), f"profiles stand on one another in a circle: {circle}")])
        line.insert(0, layers[-1])
    return line


class _Builder:
    """Builds rules; profiles with equal settings share one."""

    def __init__(self, rules: Installed, context: RuleContext) -> None:
        self._rules, self._context = rules, context
        self._built: dict[tuple[str, str], Rule] = {}
        classes = sorted(rules.classes.items())
        self.mandatory = [self.build(name, rule.Settings()) for name, rule in classes if _is_mandatory(rule)]

    def settings(self, rule: str, given: Mapping[str, Any]) -> Section:
        return self._rules.classes[rule].Settings().model_copy(update=given)

    def build(self, rule: str, settings: Section) -> Rule:
        """Raises ValueError if the rule cannot work with these settings."""
        key = rule, settings.model_dump_json()
        if key not in self._built:
            self._built[key] = self._rules.classes[rule](settings, self._context)
        return self._built[key]


def _is_mandatory(rule: RuleClass) -> bool:
    return bool(getattr(rule, "mandatory", False))


def _profile(line: list[Written], builder: _Builder) -> Profile:
    own = line[-1]
    mistakes: list[Mistake] = []
    streams: dict[Stream, StreamRules] = {}
    for stream in Stream:
        if any(stream in each.streams for each in line):
            names = _names(line, stream, mistakes)
            streams[stream] = _stream(line, stream, names, builder, mistakes)
    if not streams:
        mistakes.append(
            Mistake(("extends",), "it allows no stream; give it [marketing] or [transactional] with a chain")
        )
    mistakes += _useless(own, streams)
    if mistakes:
        raise _wrong(own, mistakes)
    about = next((each.about for each in reversed(line) if each.about), "")
    return Profile(
        **_handling(line),
        name=own.name,
        about=about,
        certified=next((each.certified for each in reversed(line) if each.certified is not None), False),
        where=own.where,
        line=tuple(each.name for each in line),
        streams=streams,
        digest=_digest(streams),
    )


def _handling(line: list[Written]) -> dict[str, Any]:
    """The fields of Handling."""
    return {
        "complaints": Clocks().model_copy(update=_inherited(line, "complaints")),
        "breakers": Thresholds().model_copy(update=_inherited(line, "breakers")),
        "suppressions": Lifting().model_copy(update=_inherited(line, "suppressions")),
        "copies": Copies().model_copy(update=_inherited(line, "copies")),
        "lists": ListThresholds().model_copy(update=_inherited(line, "lists")),
    }


def _inherited(line: list[Written], table: str) -> dict[str, Any]:
    """The keys of ``table`` that were given in any file; the last word counts."""
    return {key: value for written in line for key, value in written.tables[table].items()}


def _names(line: list[Written], stream: Stream, mistakes: list[Mistake]) -> list[str]:
    """The stream's rules in order; only the mistakes of the last file are noted, the others have their own turn."""
    names: list[str] | None = None
    for written in line:
        table, last = written.streams.get(stream), written is line[-1]
        if table is None:
            continue
        if table.chain is not None:
            names = list(table.chain)
        if last and names is None:
            mistakes.append(Mistake((stream.value, "chain"), "is missing, and there is none to inherit"))
        names = names or []
        if last:
            mistakes += _misplaced(table, stream, names)
        names = [name for name in names if name not in table.without]
        names += [name for name in table.also if name not in names]
    return names or []


def _misplaced(table: Table, stream: Stream, names: Sequence[str]) -> Iterator[Mistake]:
    """What ``table`` adds to or leaves out of the chain ``names`` without effect."""
    for n, name in enumerate(table.also):
        if name in names:
            yield Mistake((stream.value, "also", n), f'"{name}" is in the chain already')
    for n, name in enumerate(table.without):
        if name not in names:
            yield Mistake((stream.value, "without", n), f'"{name}" is not in the chain')
    for n, name in enumerate(table.observe or ()):
        if name not in {*names, *table.also} - {*table.without}:
            yield Mistake((stream.value, "observe", n), f'"{name}" is not in the chain; add it, or do not name it here')


def _stream(
    line: list[Written], stream: Stream, names: list[str], builder: _Builder, mistakes: list[Mistake]
) -> StreamRules:
    settings = {name: builder.settings(name, _given(line, stream, name)) for name in names}
    built = []
    for name, section in settings.items():
        try:
            built.append(builder.build(name, section))
        except ValueError as error:
            mistakes.append(Mistake(_place(line[-1], stream, name), str(error)))
    tables = [each.streams[stream] for each in line if stream in each.streams]
    observe = next((table.observe for table in reversed(tables) if table.observe is not None), ())
    failing = next((table.failing for table in reversed(tables) if table.failing is not None), Failing.REFUSE_ALL)
    observed = frozenset(observe) & frozenset(names)
    return StreamRules(Chain(built, observed=observed, failing=failing, mandatory=builder.mandatory), settings)


def _given(line: list[Written], stream: Stream, rule: str) -> dict[str, Any]:
    """The rule's settings: in each file those for both streams, then those for this one; the last word counts."""
    given: dict[str, Any] = {}
    for written in line:
        given |= written.settings.get(rule, {})
        if stream in written.streams:
            given |= written.streams[stream].settings.get(rule, {})
    return given


def _place(own: Written, stream: Stream, rule: str) -> tuple[str, ...]:
    """Where ``own`` speaks of ``rule``."""
    if stream in own.streams and rule in own.streams[stream].settings:
        return (stream.value, "rules", rule)
    return ("rules", rule) if rule in own.settings else (stream.value, "chain")


def _useless(own: Written, streams: Mapping[Stream, StreamRules]) -> Iterator[Mistake]:
    """Settings for rules that are not in the chain: their author probably expects them to apply."""
    used = {name for stream in streams.values() for name in stream.settings}
    for name in own.settings:
        if name not in used:
            yield Mistake(("rules", name), f'the rule "{name}" is in no chain of this profile; add it to one')
    for stream, table in own.streams.items():
        for name in table.settings:
            if name not in streams[stream].settings:
                yield Mistake((stream.value, "rules", name), f'the rule "{name}" is not in this chain; add it')


def _digest(streams: Mapping[Stream, StreamRules]) -> str:
    content = {
        stream.value: {
            "rules": [[name, section.model_dump(mode="json")] for name, section in rules.settings.items()],
            "observe": sorted(rules.chain.observed),
            "failing": rules.chain.failing.value,
        }
        for stream, rules in streams.items()
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]


def _wrong(written: Written, mistakes: list[Mistake]) -> ConfigError:
    return ConfigError(placed(mistakes, written.text, written.where))

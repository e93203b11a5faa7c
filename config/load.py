"""Load the configuration: return complete ``Settings`` or raise all errors at once.

``defaults/mta.toml`` is used only if no file is given. ``defaults/shaping.toml`` is always added after the operator's
providers, ``defaults/automation.toml`` after their automation rules; an entry with a shipped name overrides only the
keys it has. ``defaults/bounces.toml`` is added by ``bounce.rules``. Relative paths are relative to the directory of
the file.

Invariants: files named in the configuration are not opened; only their existence and mode are checked.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain
from operator import is_
from pathlib import Path
from typing import TypeVar

from config.automation_checks import automation_check
from config.checks import cross_check, has_password
from config.schema import AutomationRule, Settings, Shaping, ShapingSettings, WarmupCurve
from config.toml import DEFAULTS, ConfigDraft, ConfigError, Mistake, MistakeLevel, draft, read, read_text
from config.toml_positions import KeyPath
from config.types import Access, Section
from config.warmup_checks import warmup_check

__all__ = ["ConfigError", "load_file", "load_text"]

AnySection = TypeVar("AnySection", bound=Section)
Named = TypeVar("Named", Shaping, AutomationRule, WarmupCurve)


def load_file(path: Path | None) -> Settings:
    """Return the settings in ``path``, or the shipped ones. Raises ConfigError."""
    return draft_file(path).require()


def load_text(text: str, name: str, base: Path) -> Settings:
    """Return the settings in ``text``. ``name``: for messages; ``base``: of relative paths. Raises ConfigError."""
    return draft_text(text, name, base).require()


def draft_file(path: Path | None) -> ConfigDraft[Settings]:
    """Return the settings in ``path``, or the shipped ones, with every mistake. Raises ConfigError if it holds none."""
    if path is None:
        return draft_text(read_text(DEFAULTS / "mta.toml"), "config/defaults/mta.toml", Path.cwd())
    made = draft_text(read_text(path), str(path), path.absolute().parent)
    if made.value is not None:
        if made.is_empty and not made.syntax:
            raise ConfigError([f"{path}: holds no setting; begin with a copy of config/defaults/mta.toml"])
        made.add(_open_password(made.value, path))
    return made


def draft_text(text: str, name: str, base: Path) -> ConfigDraft[Settings]:
    """Return the settings in ``text`` with every mistake; paths in them are absolute."""
    shipped, rules, curves = shipped_providers(), shipped_automation(), shipped_curves()

    def check(settings: Settings) -> Iterable[Mistake]:
        return chain(
            cross_check(settings, shipped),
            automation_check(settings, rules, {provider.name for provider in shipped}),
            warmup_check(settings, {provider.name for provider in shipped}, {curve.name for curve in curves}),
            _files(settings, base),
        )

    made = draft(text, name, Settings, check)
    if made.value is not None:
        own = made.value.shaping
        shaping = ShapingSettings(
            default=_at_most_all(own.default),
            providers=[_at_most_all(provider) for provider in _combine(own.providers, shipped)],
            sources=own.sources,
            tenants=own.tenants,
            warmup=own.warmup,
            curves=_combine(own.curves, curves),
            automation=_combine(own.automation, rules),
        )
        made.value = _resolve(made.value.model_copy(update={"shaping": shaping}), base)
    return made


def _open_password(settings: Settings, path: Path) -> Iterator[Mistake]:
    """Yield a mistake if all users of the machine can read a password in the file itself."""
    mode = path.stat().st_mode & 0o777
    if mode & 0o004 and has_password(settings.database.url):
        yield Mistake(
            ("database", "url"),
            f"all users can read the password in it (mode {mode:04o}); run: chmod 640 {path}, or use a .pgpass file",
            level=MistakeLevel.WARNING,
        )


def _nothing(_: ShapingSettings) -> Iterable[Mistake]:
    return ()


def shipped_providers() -> list[Shaping]:
    """Return the providers that come with the service."""
    return _shipped("shaping.toml").providers


def shipped_automation() -> list[AutomationRule]:
    """Return the automation rules that come with the service."""
    return _shipped("automation.toml").automation


def shipped_curves() -> list[WarmupCurve]:
    """Return the warm-up curves that come with the service."""
    return _shipped("warmup.toml").curves


def _shipped(name: str) -> ShapingSettings:
    return read(read_text(DEFAULTS / name), f"config/defaults/{name}", ShapingSettings, _nothing)


def _combine(own: list[Named], shipped: list[Named]) -> list[Named]:
    """Return the operator's entries, completed by shipped ones of the same name, then the other shipped ones."""
    by_name = {each.name: each for each in shipped}
    completed = [
        by_name[each.name].model_copy(update=each.model_dump(exclude_unset=True)) if each.name in by_name else each
        for each in own
    ]
    taken = {each.name for each in own}
    return completed + [each for each in shipped if each.name not in taken]


def _at_most_all(shaping: Shaping) -> Shaping:
    """Lower ``initial_connections`` to ``connections``: only the latter need be given."""
    if shaping.initial_connections <= shaping.connections:
        return shaping
    return shaping.model_copy(update={"initial_connections": shaping.connections})


def _walk(section: Section, path: KeyPath = ()) -> Iterator[tuple[KeyPath, Access, Path]]:
    """Yield every file named in ``section``, with what to check about it."""
    for name, field in type(section).model_fields.items():
        value, at = getattr(section, name), (*path, name)
        access = next((item for item in field.metadata if isinstance(item, Access)), None)
        items = [((*at, n), item) for n, item in enumerate(value)] if isinstance(value, list) else [(at, value)]
        for place, item in items:
            if isinstance(item, Section):
                yield from _walk(item, place)
            elif isinstance(item, Path) and access:
                yield place, access, item


def _files(settings: Settings, base: Path) -> Iterator[Mistake]:
    for place, access, given in _walk(settings):
        path = base / given
        try:
            if access is Access.WRITE:
                if not path.parent.is_dir():
                    yield Mistake(place, f"directory {path.parent} does not exist; create it or name another file")
                elif path.is_dir():
                    yield Mistake(place, f"{path} is a directory; name a file")
            elif not path.is_file():
                yield Mistake(place, f"file {path} does not exist")
            elif access is Access.PRIVATE and (mode := path.stat().st_mode & 0o777) & 0o077:
                yield Mistake(place, f"{path} is readable by others (mode {mode:04o}); run: chmod 600 {path}")
        except (OSError, ValueError) as error:
            yield Mistake(place, f"cannot check {given!s:.200}: {error}")


def _resolve(section: AnySection, base: Path) -> AnySection:
    """Return ``section`` with all relative paths made absolute; what holds none stays the same object."""

    def resolved(value: object) -> object:
        match value:
            case Path():
                return base / value
            case Section():
                return _resolve(value, base)
            case list():
                items = [resolved(item) for item in value]
                return value if all(map(is_, items, value)) else items
            case _:
                return value

    given = {name: getattr(section, name) for name in type(section).model_fields}
    changed = {name: new for name, value in given.items() if (new := resolved(value)) is not value}
    return section.model_copy(update=changed) if changed else section

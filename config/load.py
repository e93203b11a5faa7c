"""The configuration file, read, checked and completed: ``Settings``, or every mistake at once.

An operator's file stands on the defaults of ``config.schema`` and nothing else. ``defaults/mta.toml`` is used, whole,
only when no file is given; it is also what one copies to begin. ``defaults/shaping.toml`` is always added: a
provider of the operator's comes before the shipped ones, and one with a shipped name changes only the keys it gives.
``defaults/bounces.toml`` is always added too, by ``bounce.rules``.

Relative paths in a file are relative to the file's folder.

It must never start with half a configuration, and never open the files that it names (only look at their modes).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import TypeVar

from config.checks import cross_check
from config.schema import Settings, Shaping, ShapingSettings
from config.toml import DEFAULTS, ConfigError, Mistake, read, read_text
from config.toml_positions import KeyPath
from config.types import Access, Section

__all__ = ["ConfigError", "load_file", "load_text"]

AnySection = TypeVar("AnySection", bound=Section)


def load_file(path: Path | None) -> Settings:
    """The settings of ``path``, or the shipped ones (relative to the current directory). Raises ConfigError."""
    if path is None:
        return load_text(read_text(DEFAULTS / "mta.toml"), "config/defaults/mta.toml", Path.cwd())
    return load_text(read_text(path), str(path), path.absolute().parent)


def load_text(text: str, name: str, base: Path) -> Settings:
    """The settings in ``text``. ``name`` is for messages, ``base`` the folder of relative paths. Raises ConfigError."""
    shipped = read(
        read_text(DEFAULTS / "shaping.toml"), "config/defaults/shaping.toml", ShapingSettings, _nothing
    ).providers

    def check(settings: Settings) -> Iterable[Mistake]:
        return chain(cross_check(settings, shipped), _files(settings, base))

    settings = read(text, name, Settings, check)
    shaping = ShapingSettings(
        default=_at_most_all(settings.shaping.default),
        providers=[_at_most_all(provider) for provider in _combine(settings.shaping.providers, shipped)],
    )
    return _resolve(settings.model_copy(update={"shaping": shaping}), base)


def _nothing(_: ShapingSettings) -> Iterable[Mistake]:
    return ()


def _combine(own: list[Shaping], shipped: list[Shaping]) -> list[Shaping]:
    """The operator's providers, completed from the shipped ones of the same name, then the other shipped ones."""
    by_name = {provider.name: provider for provider in shipped}
    completed = [
        by_name[provider.name].model_copy(update=provider.model_dump(exclude_unset=True))
        if provider.name in by_name
        else provider
        for provider in own
    ]
    taken = {provider.name for provider in own}
    return completed + [provider for provider in shipped if provider.name not in taken]


def _at_most_all(shaping: Shaping) -> Shaping:
    """``connections = 1`` alone is no contradiction to a default of two connections at the start."""
    if shaping.initial_connections <= shaping.connections:
        return shaping
    return shaping.model_copy(update={"initial_connections": shaping.connections})


def _walk(section: Section, path: KeyPath = ()) -> Iterator[tuple[KeyPath, Access, Path]]:
    """Every file that ``section`` names, and what is asked of it."""
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
                    yield Mistake(place, f"the folder {path.parent} does not exist; make it, or name another file")
            elif not path.is_file():
                yield Mistake(place, f"there is no file {path}; name one that exists")
            elif access is Access.PRIVATE and (mode := path.stat().st_mode & 0o777) & 0o077:
                yield Mistake(place, f"{path} can be read by others (mode {mode:04o}); run: chmod 600 {path}")
        except (OSError, ValueError) as error:
            yield Mistake(place, f"{given!s:.200} cannot be looked at: {error}")


def _resolve(section: AnySection, base: Path) -> AnySection:
    """``section`` with every relative path made absolute."""

    def resolved(value: object) -> object:
        match value:
            case Path():
                return base / value
            case Section():
                return _resolve(value, base)
            case list():
                return [resolved(item) for item in value]
            case _:
                return value

    return section.model_copy(update={name: resolved(getattr(section, name)) for name in type(section).model_fields})

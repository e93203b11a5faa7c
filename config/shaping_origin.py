"""Which line of which file sets a limit of a path."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from config.schema import PathLimits, Shaping, SourceShaping
from config.toml import DEFAULTS, read_text
from config.toml_positions import KeyPath, locate

SHIPPED = "config/defaults/shaping.toml"


class ShapingOrigins:
    """``path``: of the operator's file, which was found valid; None: the shipped one."""

    def __init__(self, path: Path | None) -> None:
        own = DEFAULTS / "mta.toml" if path is None else path
        self._own = _File("config/defaults/mta.toml" if path is None else str(path), read_text(own), ("shaping",))
        self._shipped = _File(SHIPPED, read_text(DEFAULTS / "shaping.toml"), ())

    def of(self, key: str, shaping: Shaping, overrides: Sequence[tuple[int, SourceShaping]]) -> str:
        """Return where a limit is set: the last of ``overrides`` (with their numbers in the file) that has it, else the
        provider, else the default."""
        for number, override in reversed(overrides):
            if key in override.model_fields_set:
                return self._own.line(("sources", number, key)) or "not set"
        if shaping.name == "default":
            return self._own.line(("default", key)) or "built in"
        for file in (self._own, self._shipped):
            for number, provider in enumerate(file.providers):
                if provider.get("name") == shaping.name and key in provider:
                    return file.line(("providers", number, key)) or file.name
        return "built in"


class _File:
    def __init__(self, name: str, text: str, root: KeyPath) -> None:
        self.name, self._root = name, root
        self._lines = locate(text)
        data: Mapping[str, Any] = tomllib.loads(text)
        for step in root:
            data = data.get(str(step), {})
        self.providers: Sequence[Mapping[str, Any]] = data.get("providers", [])

    def line(self, path: KeyPath) -> str | None:
        number = self._lines.get((*self._root, *path))
        return None if number is None else f"{self.name}:{number}"


LIMITS = tuple(PathLimits.model_fields)

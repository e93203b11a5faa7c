"""How values are written in the configuration: durations, sizes, networks, host names, files.

Each type here reads the notation of the file into what the code works with: seconds, octets, addresses, paths.

It must never look at a file or a name server.

*Limits.* A bare number is no duration, because nobody can tell whether it means seconds or milliseconds.
"""

from __future__ import annotations

import re
from enum import Enum
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, Strict, StringConstraints, WithJsonSchema

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_SIZES = {"": 1, "B": 1, "kB": 1000, "KiB": 1024, "MB": 1000**2, "MiB": 1024**2, "GB": 1000**3, "GiB": 1024**3}
_NUMBER = r"(\d{1,9}(?:\.\d{1,9})?)"
_DURATION = re.compile(rf"{_NUMBER}\s*(ms|s|m|h|d)")
_SIZE = re.compile(rf"{_NUMBER}\s*(B|kB|KiB|MB|MiB|GB|GiB|)")
_HOST_NAME = r"^[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?)*$"


def _seconds(value: Any) -> float:
    if isinstance(value, str) and (match := _DURATION.fullmatch(value.strip())):
        return float(match[1]) * _UNITS[match[2]]
    raise ValueError("a duration is a text with its unit: 500ms, 30s, 5m, 2h or 5d")


def _octets(value: Any) -> int:
    if isinstance(value, str) and (match := _SIZE.fullmatch(value.strip())):
        return int(float(match[1]) * _SIZES[match[2]])
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise ValueError("a size is a number of octets, or a text with a unit: 64kB, 25MB, 1GiB")


def default(text: str) -> Any:
    """A default in the notation of the file, read like a value given there."""
    return Field(text, validate_default=True)


class Access(Enum):
    """What is asked of a file that the configuration names. ``config.load`` checks it."""

    READ = "must exist"
    PRIVATE = "must exist, readable by its owner only"
    WRITE = "its folder must exist"


Duration = Annotated[
    float,
    BeforeValidator(_seconds),
    Field(ge=0, le=3650 * 86400),
    WithJsonSchema({"type": "string", "format": "duration", "pattern": r"^\d+(\.\d+)? *(ms|s|m|h|d)$"}),
]
Size = Annotated[
    int,
    BeforeValidator(_octets),
    Field(ge=0, le=2**50),
    WithJsonSchema({"type": ["string", "integer"], "format": "size"}),
]
Port = Annotated[int, Field(ge=0, le=65535), WithJsonSchema({"type": "integer", "minimum": 0, "maximum": 65535})]
Network = Annotated[
    Annotated[IPv4Network, Strict(False)] | Annotated[IPv6Network, Strict(False)],
    WithJsonSchema({"type": "string", "format": "network"}),
]
File = Annotated[Path, Strict(False), WithJsonSchema({"type": "string", "format": "path"})]
HostName = Annotated[
    str,
    StringConstraints(to_lower=True, max_length=253, pattern=_HOST_NAME),
    WithJsonSchema({"type": "string", "format": "hostname"}),
]


class Section(BaseModel):
    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )

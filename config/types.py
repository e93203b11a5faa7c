"""Value types of the configuration: durations, sizes, networks, host names, files.

Limitations: a bare number is not accepted as a duration, because it could mean seconds or milliseconds.
"""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from enum import Enum
from ipaddress import IPv4Network, IPv6Network
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    Strict,
    StringConstraints,
    WithJsonSchema,
)
from pydantic_core import CoreSchema

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_SIZES = {"": 1, "B": 1, "kB": 1000, "KiB": 1024, "MB": 1000**2, "MiB": 1024**2, "GB": 1000**3, "GiB": 1024**3}
_NUMBER = r"(\d{1,9}(?:\.\d{1,9})?)"
_DURATION = re.compile(rf"{_NUMBER}\s*(ms|s|m|h|d)")
_SIZE = re.compile(rf"{_NUMBER}\s*(B|kB|KiB|MB|MiB|GB|GiB|)")
_LABEL = r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
# The last label of a host name is no number: 192.0.2.1 is an address (RFC 3696 2).
_HOST_NAME = rf"^({_LABEL}\.)*[0-9]{{0,62}}[A-Za-z]([A-Za-z0-9-]{{0,61}}[A-Za-z0-9])?$"
_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_DAY, _DAY_TIME = f"({'|'.join(_DAYS)})", "([01][0-9]|2[0-3]):[0-5][0-9]"
_WEEK_HOURS = rf"^{_DAY}(-{_DAY})?(,{_DAY}(-{_DAY})?)* +{_DAY_TIME}-({_DAY_TIME}|24:00)$"
_SELECTOR = rf"^{_LABEL}(\.{_LABEL})*$"


def _seconds(value: Any) -> float:
    if isinstance(value, str) and (match := _DURATION.fullmatch(value.strip())):
        return float(match[1]) * _UNITS[match[2]]
    raise ValueError("a duration is a string with a unit: 500ms, 30s, 5m, 2h or 5d")


def _octets(value: Any) -> int:
    if isinstance(value, str) and (match := _SIZE.fullmatch(value.strip())):
        return int(float(match[1]) * _SIZES[match[2]])
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise ValueError("a size is a number of bytes, or a string with a unit: 64kB, 25MB, 1GiB")


def rate_limit(text: str) -> tuple[int, float]:
    """Return how many a RateLimit allows in how many seconds."""
    number, _, unit = text.partition("/")
    return int(number), _UNITS[unit]


def week_hours(text: str) -> tuple[frozenset[int], int, int]:
    """Return the days (0: Monday), the start and the end of a WeekHours; both in minutes from midnight, an end that
    is not after the start on the next day."""
    names, hours = text.split()
    days: set[int] = set()
    for part in names.split(","):
        first, _, last = part.partition("-")
        start, end = _DAYS.index(first), _DAYS.index(last or first)
        days |= {n % 7 for n in range(start, end + 1 if end >= start else end + 8)}
    opens, closes = (60 * int(each[:2]) + int(each[3:]) for each in hours.split("-"))
    return frozenset(days), opens, closes if closes > opens else closes + 24 * 60


def default(text: str, *, ge: int | None = None) -> Any:
    """Return a field whose default is written as in the file and validated like a given value."""
    return Field(text, validate_default=True, ge=ge)


class Access(Enum):
    """What ``config.load`` checks about a file named in the configuration."""

    READ = "must exist"
    PRIVATE = "must exist and be readable by its owner only"
    WRITE = "its directory must exist"


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
RateLimit = Annotated[
    str,
    StringConstraints(pattern=r"^[1-9][0-9]{0,8}/(s|m|h|d)$"),
    WithJsonSchema({"type": "string", "format": "rate"}),
]
Name = Annotated[
    str,
    StringConstraints(pattern=r"^[a-z0-9]([a-z0-9._-]{0,38}[a-z0-9])?$"),
    WithJsonSchema({"type": "string", "format": "name"}),
]
ReplyCode = Annotated[
    str,
    StringConstraints(pattern=r"^[45]([0-9][0-9x]|xx)$"),
    WithJsonSchema({"type": "string", "format": "reply-code"}),
]
EnhancedCode = Annotated[
    str,
    StringConstraints(pattern=r"^[x45]\.([0-9]{1,3}\.([0-9]{1,3}|x)|x\.x)$"),
    WithJsonSchema({"type": "string", "format": "enhanced-code"}),
]
Port = Annotated[int, Field(ge=0, le=65535), WithJsonSchema({"type": "integer", "minimum": 0, "maximum": 65535})]
Network = Annotated[
    Annotated[IPv4Network, Strict(False)] | Annotated[IPv6Network, Strict(False)],
    WithJsonSchema({"type": "string", "format": "network"}),
]
MAILBOX = r"^[A-Za-z0-9._+-]{1,64}@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+$"  # a plain address, as a pattern
File = Annotated[Path, Strict(False), WithJsonSchema({"type": "string", "format": "path"})]
WeekHours = Annotated[
    str, StringConstraints(pattern=_WEEK_HOURS), WithJsonSchema({"type": "string", "format": "hours"})
]
HostName = Annotated[
    str,
    StringConstraints(to_lower=True, max_length=253, pattern=_HOST_NAME),
    WithJsonSchema({"type": "string", "format": "hostname"}),
]

Selector = Annotated[
    str,
    StringConstraints(to_lower=True, max_length=253, pattern=_SELECTOR),
    WithJsonSchema({"type": "string", "format": "hostname"}),
]


class Section(BaseModel):
    """Base of every table of a configuration file: frozen, strict, no unknown keys.

    The text below a key is its description.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler, /) -> dict[str, Any]:
        # `use_attribute_docstrings` would parse the source of every table at import, a tenth of each start.
        schema = handler(core_schema)
        properties = handler.resolve_ref_schema(schema).get("properties", {})
        for key, text in _descriptions(cls).items():
            properties[key]["description"] = text
        return schema


def _descriptions(table: type[Section]) -> dict[str, str]:
    found: dict[str, str] = {}
    for each in reversed(table.__mro__):
        if issubclass(each, Section) and each is not Section:
            found |= {key: text for key, text in _below_keys(each).items() if key in each.__annotations__}
    return found


def _below_keys(table: type) -> dict[str, str]:
    """Return the strings below the keys of ``table``; none if it has no source, as tables made at run time."""
    try:
        (definition,) = ast.parse(textwrap.dedent(inspect.getsource(table))).body
    except (OSError, TypeError):
        return {}
    assert isinstance(definition, ast.ClassDef)
    found = {}
    for key, text in pairwise(definition.body):
        match key, text:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(words))):
                found[name] = inspect.cleandoc(words)
    return found

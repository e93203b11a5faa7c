"""Values in JSON's types, for commands, the API and the audit."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from datetime import datetime
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

from mta.mail.address import Address
from mta.mail.identity import format_id


def plain(value: Any) -> Any:
    """Return ``value`` in JSON's types: dataclasses as objects, ids as we write them, enums by value."""
    match value:
        case None | bool() | int() | float() | str() | datetime():
            return value.value if isinstance(value, Enum) else value
        case Enum():
            return value.value
        case UUID():
            return format_id(value)
        case bytes():
            return value.hex()
        case Decimal():
            return str(value)
        case set() | frozenset():
            return sorted(plain(each) for each in value)
        case _ if is_dataclass(value) and not isinstance(value, type):
            if isinstance(value, Address):
                return str(value)
            return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
        case tuple() if hasattr(value, "_asdict"):
            return {name: plain(each) for name, each in value._asdict().items()}
        case list() | tuple():
            return [plain(each) for each in value]
        case _ if hasattr(value, "items"):
            return {str(plain(name)): plain(each) for name, each in value.items()}
        case _:
            return str(value)

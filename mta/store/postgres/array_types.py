"""What the driver must know of PostgreSQL's array types, so that it does not ask the server.

It would ask on each connection, when it first meets one, by a query that takes the server's process 2 MiB and 6 ms.

Limitations: uses what the driver does not document; a test compares it with the server's catalog.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import asyncpg

# Type ids that are the same in every database: of the array, and of what it holds.
ARRAYS = {
    "bool": (1000, 16),
    "bytea": (1001, 17),
    "int2": (1005, 21),
    "int4": (1007, 23),
    "int8": (1016, 20),
    "float8": (1022, 701),
    "date": (1182, 1082),
    "timestamptz": (1185, 1184),
    "interval": (1187, 1186),
    "uuid": (2951, 2950),
    "jsonb": (3807, 3802),
}

_NOT_AN_ARRAY_OF_ROWS = {"range_subtype": None, "attrtypoids": None, "attrnames": None, "basetype": None}
_TYPES: list[dict[str, Any]] = [
    {"oid": oid, "ns": "pg_catalog", "name": f"_{name}", "kind": b"b", "elemtype": element, "elemdelim": ","}
    | _NOT_AN_ARRAY_OF_ROWS
    for name, (oid, element) in ARRAYS.items()
]


def make_known(connection: asyncpg.Connection) -> None:
    """Tell a new connection about them."""
    with suppress(AttributeError):  # a later driver may have no such thing: then it asks
        connection._protocol.get_settings().register_data_types(_TYPES)  # type: ignore[attr-defined]

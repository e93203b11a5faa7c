"""Whose complaint it is, by the domain that signed it: a regulator's comes first.

The domains are in ``config/defaults/authorities.toml``.

Invariants: callers have verified the signature; a merely claimed domain is never looked up.

Limitations: authorities outside the five languages count as recipients until an operator opens their case.
"""

from __future__ import annotations

from collections.abc import Mapping

from config.toml import DEFAULTS, read, read_text
from config.types import HostName, Section
from policy.reputation.complaint import Source

FILE = DEFAULTS / "authorities.toml"


class Authorities(Section):
    """``config/defaults/authorities.toml``: domains by source."""

    regulator: list[HostName]
    advertising_body: list[HostName]
    csa: list[HostName]
    blocklist: list[HostName]
    provider: list[HostName]


def load_authorities() -> Mapping[str, Source]:
    """The source by domain. Raises ConfigError."""
    shipped = read(read_text(FILE), FILE.name, Authorities, lambda _: ())
    return {domain: Source(name) for name in Authorities.model_fields for domain in getattr(shipped, name)}


def source_of(domain: str | None, authorities: Mapping[str, Source]) -> Source:
    """Whose complaint it is that ``domain`` (lower-case A-labels; None: nobody) has signed."""
    labels = (domain or "").split(".")
    for n in range(len(labels) - 1):
        if (source := authorities.get(".".join(labels[n:]))) is not None:
            return source
    return Source.RECIPIENT

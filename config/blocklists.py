"""What is watched from outside: blocklists.

It must never hold a list by default: each has its own terms, and asking it tells its owner whom we care for.
"""

# ruff: noqa: RUF012 (pydantic copies a mutable default for each instance)
from __future__ import annotations

from typing import Literal

from pydantic import Field

from config.types import Duration, HostName, Network, Section, default


class ListAnswer(Section):
    """What some of a list's answers mean."""

    codes: Network
    """Address or network of the answers, e.g. `127.0.0.2`."""
    means: str = Field("", max_length=200)
    """In words."""
    listed: bool = True
    """Whether it is a listing that counts. Without any answers given, all of 127.0.0.0/8 are, but 127.255.255.0/24,
    which says that the question was refused."""


class Blocklist(Section):
    """A DNS blocklist (RFC 5782) that is asked about our addresses or domains. Mind its terms of use."""

    name: str = Field(pattern=r"^[a-z0-9]([a-z0-9._-]{0,38}[a-z0-9])?$")
    """What events and `mta blocklist` call it."""
    zone: HostName
    """Where it is asked, e.g. `zen.example.org`."""
    kind: Literal["ip", "domain"] = "ip"
    """`ip`: the addresses of `egress.sources`; `domain`: the verified sender domains of all accounts."""
    answers: list[ListAnswer] = []
    """What its answers mean; those that are not named count for nothing. Empty: every answer is a listing."""
    rest: bool = True
    """Whether a source that it lists rests for as long as there are others."""


class BlocklistSettings(Section):
    """Watching what blocklists say of us. Nobody is asked unless a list is named here."""

    lists: list[Blocklist] = []
    """The lists."""
    also: list[str] = []
    """More addresses and domains to watch: the public addresses of sources behind NAT, the host name, link domains."""
    every: Duration = default("1h")
    """How often a list is asked about the same; less often if its answers are good for longer."""
    confirm_after: Duration = default("15m")
    """A listing counts when it is seen twice, so far apart."""
    pause: Duration = default("200ms")
    """Between two questions."""

    @property
    def resting(self) -> list[str]:
        """The lists that make a source rest."""
        return [each.name for each in self.lists if each.rest and each.kind == "ip"]

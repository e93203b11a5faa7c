"""Shaping actions: what is done for a time about mail of a source, a site, a domain, an account or a mailing, by a rule
or by an operator."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, field
from datetime import datetime
from enum import Enum
from typing import NamedTuple

from mta.mail.message import Stream
from mta.mail.values import dataclass

OPERATOR = ""  # the rule of an action that no rule began


class Effect(Enum):
    """What an action does."""

    PAUSE = "pause"  # no attempt begins
    LIMIT = "limit"  # fewer connections, lower rates
    CLOSE = "close"  # idle connections were closed when it began
    POOL = "pool"  # mail leaves from another pool
    HOLD_MAILING = "hold_mailing"  # the mailing is stopped
    ALERT = "alert"  # it is only reported


class Place(NamedTuple):
    """Where a delivery stands. ``source``: None before it is chosen."""

    pool: str
    site: str
    domain: str
    account_id: int
    stream: Stream
    mailing: str | None = None
    source: str | None = None


@dataclass(frozen=True, slots=True)
class ActionScope:
    """What an action is for: mail that fits everything that is set. ``account_id``: 0 is the service's own mail."""

    source: str | None = None
    pool: str | None = None
    site: str | None = None
    domain: str | None = None
    account_id: int | None = None
    mailing: str | None = None
    stream: Stream | None = None

    @classmethod
    def of(cls, place: Place, names: Iterable[str]) -> ActionScope | None:
        """Return the scope that ``place`` has by these names ("account" for its id); None if it lacks one."""
        values = {_FIELDS.get(name, name): getattr(place, _FIELDS.get(name, name)) for name in names}
        return None if None in values.values() else cls(**values)

    @classmethod
    def read(cls, fields: Mapping[str, object]) -> ActionScope:
        """Return the scope of ``fields``, as ``fields`` gives them."""
        given = dict(fields)
        if "stream" in given:
            given["stream"] = Stream(given["stream"])
        return cls(**given)  # type: ignore[arg-type]

    @property
    def fields(self) -> dict[str, str | int]:
        """What is set, for JSON."""
        given = {key: value for key, value in asdict(self).items() if value is not None}
        return {key: value.value if isinstance(value, Stream) else value for key, value in given.items()}

    def fits(self, place: Place) -> bool:
        """Return whether ``place`` has everything that is set."""
        return (
            (self.source is None or self.source == place.source)
            and (self.pool is None or self.pool == place.pool)
            and (self.site is None or self.site == place.site)
            and (self.domain is None or self.domain == place.domain)
            and (self.account_id is None or self.account_id == place.account_id)
            and (self.mailing is None or self.mailing == place.mailing)
            and (self.stream is None or self.stream is place.stream)
        )

    @property
    def is_of_path(self) -> bool:
        """Whether it is for whole connections: of sources and sites, whatever the mail."""
        return (self.domain, self.account_id, self.mailing, self.stream) == (None, None, None, None)

    def covers(self, source: str, site: str, pools: Collection[str]) -> bool:
        """Return whether it is for all connections of a path. ``pools``: those that the source is in."""
        return (
            self.is_of_path
            and self.source in (None, source)
            and self.site in (None, site)
            and (self.pool is None or self.pool in pools)
        )

    def __str__(self) -> str:
        named = {"account" if key == "account_id" else key: value for key, value in self.fields.items()}
        return " x ".join(f"{key} {value}" for key, value in named.items()) or "all mail"


_FIELDS = {"account": "account_id"}


@dataclass(frozen=True, slots=True)
class NewAction:
    """An action to be begun. ``rule``: OPERATOR if none began it. ``sample``: the reply that did. ``connections``,
    ``message_rates``: of a limit, at least one of them. ``pool``: where mail goes."""

    name: str
    scope: ActionScope
    effect: Effect
    reason: str
    author: str
    seconds: float
    rule: str = OPERATOR
    sample: str = ""
    connections: int | None = None
    message_rates: tuple[str, ...] = ()
    pool: str | None = None


@dataclass(frozen=True, slots=True)
class ShapingAction:
    """An action, in force until it expires or is cancelled."""

    id: int
    name: str
    rule: str
    scope: ActionScope
    effect: Effect
    reason: str
    sample: str
    author: str
    created_at: datetime
    expires_at: datetime
    connections: int | None = None
    message_rates: tuple[str, ...] = field(default=())
    pool: str | None = None
    cancelled_at: datetime | None = None
    cancelled_by: str | None = None
    cancel_reason: str | None = None

    def in_force(self, now: datetime) -> bool:
        return self.cancelled_at is None and now < self.expires_at

    @property
    def ended_at(self) -> datetime:
        """When it ended or will end."""
        return self.expires_at if self.cancelled_at is None else self.cancelled_at


@dataclass(frozen=True, slots=True)
class WindowCount:
    """What was counted of a rule in a scope within its window. ``sample``: one of the replies that it fits."""

    rule: str
    scope: ActionScope
    replies: int
    matched: int
    sample: str

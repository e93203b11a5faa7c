"""What the shaping actions in force mean for a delivery and for a path.

Of several that apply the strictest counts: the longest pause, the lowest limits. The pool is that of the oldest.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from config.schema import PathLimits
from mta.mail.shaping_action import ActionScope, Effect, Place, ShapingAction

RECOVERY = timedelta(hours=1)  # after a pause in which a path that begins anew begins with one connection
MAX_KNOWN = 20_000  # paths whose lowered limits are remembered


@dataclass(frozen=True, slots=True)
class _Lowered:
    """The limits of a path, lowered by the actions with these ids."""

    ids: tuple[int, ...]
    limits: PathLimits
    lowered: PathLimits


class ActionsInForce:
    """``actions``: those in force, and those that ended within RECOVERY. What has expired meanwhile does not count."""

    def __init__(self, actions: Iterable[ShapingAction] = ()) -> None:
        self._pauses: dict[str | None, list[ShapingAction]] = {}  # by site; None: of every site
        self._limits: list[ShapingAction] = []  # of whole paths
        self._mail_limits: dict[ActionScope, list[ShapingAction]] = {}
        self._moves: list[ShapingAction] = []
        self._lowered: dict[tuple[str, str], _Lowered] = {}
        for action in sorted(actions, key=lambda each: each.id):
            if action.effect is Effect.PAUSE:
                self._pauses.setdefault(action.scope.site, []).append(action)
            elif action.effect is Effect.LIMIT and action.scope.is_of_path:
                self._limits.append(action)
            elif action.effect is Effect.LIMIT:
                self._mail_limits.setdefault(action.scope, []).append(action)
            elif action.effect is Effect.POOL:
                self._moves.append(action)

    @property
    def pauses(self) -> bool:
        """Whether there is any pause."""
        return bool(self._pauses)

    @property
    def moves(self) -> bool:
        """Whether any mail is moved to another pool."""
        return bool(self._moves)

    @property
    def limits_mail(self) -> bool:
        """Whether there is any limit for some of the mail of a path."""
        return bool(self._mail_limits)

    def pause(self, place: Place, now: datetime) -> ShapingAction | None:
        """Return the pause that mail at ``place`` waits for: the one that ends last."""
        found = (each for each in self._pauses_at(place.site) if each.in_force(now) and each.scope.fits(place))
        return max(found, key=lambda each: each.expires_at, default=None)

    def may_pause(self, source: str, site: str, now: datetime) -> bool:
        """Return whether any mail that waits for this path is, perhaps, paused."""
        return any(each.in_force(now) and each.scope.source in (None, source) for each in self._pauses_at(site))

    def is_paused(self, source: str, site: str, pools: Collection[str], now: datetime) -> bool:
        """Return whether all mail of a path is paused."""
        return any(each.in_force(now) and each.scope.covers(source, site, pools) for each in self._pauses_at(site))

    def pool_of(self, place: Place, now: datetime) -> str | None:
        """Return the pool that mail at ``place`` is moved to; None: it stays."""
        return next((each.pool for each in self._moves if each.in_force(now) and each.scope.fits(place)), None)

    def limits(self, source: str, site: str, pools: Collection[str], limits: PathLimits, now: datetime) -> PathLimits:
        """Return the limits of a path that hold now, at most ``limits``. ``pools``: those that the source is in.

        As long as nothing changes the result is the same object.
        """
        if not self._limits:
            return limits
        found = self.limiting(source, site, pools, now)
        if not found:
            return limits
        ids, known = tuple(each.id for each in found), self._lowered.get((source, site))
        if known is None or known.ids != ids or known.limits is not limits:
            if len(self._lowered) >= MAX_KNOWN:
                self._lowered.clear()
            known = self._lowered[source, site] = _Lowered(ids, limits, _lower(limits, found))
        return known.lowered

    def limited_scopes(self, place: Place) -> Iterator[ActionScope]:
        """Yield the scopes of accounts, mailings, domains and streams that mail at ``place`` is in and that may have
        limits, each of its own."""
        return (scope for scope in self._mail_limits if scope.fits(place))

    def limits_in(self, scope: ActionScope, now: datetime) -> Sequence[ShapingAction]:
        """Return the limits in force for all mail of such a scope together."""
        return [each for each in self._mail_limits.get(scope, ()) if each.in_force(now)]

    def is_recovering(self, source: str, site: str, pools: Collection[str], now: datetime) -> bool:
        """Return whether a pause of this path has ended within RECOVERY."""
        ended = (each for each in self._pauses_at(site) if now - RECOVERY < each.ended_at <= now)
        return any(each.scope.covers(source, site, pools) for each in ended)

    def limiting(self, source: str, site: str, pools: Collection[str], now: datetime) -> Sequence[ShapingAction]:
        """Return the actions that lower the limits of a path."""
        return [each for each in self._limits if each.in_force(now) and each.scope.covers(source, site, pools)]

    def _pauses_at(self, site: str) -> Sequence[ShapingAction]:
        if not self._pauses:
            return ()
        return [*self._pauses.get(site, ()), *self._pauses.get(None, ())]


def _lower(limits: PathLimits, actions: Iterable[ShapingAction]) -> PathLimits:
    """Return the limits with the fewest connections of all, and with the rates of all."""
    connections, rates = limits.connections, list(limits.message_rates)
    for action in actions:
        connections = min(connections, action.connections or connections)
        rates += [rate for rate in action.message_rates if rate not in rates]
    initial = min(connections, limits.initial_connections)
    changed = {"connections": connections, "initial_connections": initial, "message_rates": rates}
    return limits.model_copy(update=changed)

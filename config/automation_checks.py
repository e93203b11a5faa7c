"""Checks of ``[[shaping.automation]]`` that involve several keys. What needs the language of patterns, or the bounce
rules, ``mta.service.config_validation`` checks."""

from __future__ import annotations

from collections.abc import Iterator

from config.egress import DEFAULT_POOL, AutomationRule
from config.egress_checks import known_name
from config.schema import Settings
from config.toml import Mistake
from config.toml_positions import KeyPath

OF_A_PATH = frozenset({"source", "pool", "site"})
LONGEST = 30 * 86400.0  # seconds of an action
LONGEST_WINDOW = 86400.0  # seconds


def automation_check(settings: Settings, shipped: list[AutomationRule], providers: set[str]) -> Iterator[Mistake]:
    """Yield all errors in the operator's rules. ``shipped``: the rules, ``providers``: those of the service."""
    by_name, seen = {rule.name: rule for rule in shipped}, set[str]()
    pools = [DEFAULT_POOL, *(pool.name for pool in settings.egress.pools)]
    for n, own in enumerate(settings.shaping.automation):
        path: KeyPath = ("shaping", "automation", n)
        if own.name in seen:
            yield Mistake((*path, "name"), f"second rule named {own.name}; names must be unique")
        seen.add(own.name)
        whole = by_name[own.name].model_copy(update=own.model_dump(exclude_unset=True)) if own.name in by_name else own
        for m, site in enumerate(own.providers):
            if "." not in site:  # with one it is the host of a site that is no provider's
                names = providers | {each.name for each in settings.shaping.providers}
                yield from known_name((*path, "providers", m), "provider", site, names)
        for key, text, about in _of_rule(whole):
            yield Mistake((*path, *key), text, about)
        if whole.pool is not None:
            yield from known_name((*path, "pool"), "pool", whole.pool, pools)


def _of_rule(rule: AutomationRule) -> Iterator[tuple[KeyPath, str, tuple[str, ...]]]:
    """Yield the key, the text and the other keys of each error."""
    words = ("codes", "enhanced", "patterns")
    by_words = rule.codes or rule.enhanced or rule.patterns
    if not by_words and not rule.categories:
        yield (), "fits every reply; set codes, enhanced, patterns or categories", (*words, "categories")
    if by_words and not rule.samples:
        yield ("samples",), "give at least one reply that this rule must fit", words
    if not rule.reason.strip():
        yield ("reason",), "say in one line why, for the people who read it in `mta shaping actions`", ()
    if not rule.scope:
        yield ("scope",), 'must not be empty; name what the effects are for, e.g. ["source", "site"]', ()
    if not rule.effects:
        yield ("effects",), "must not be empty; to turn a rule off, set enabled = false", ()
    if not 0 < rule.duration <= LONGEST:
        yield ("duration",), "must be more than nothing and at most 30d", ()
    if not 0 < rule.window <= LONGEST_WINDOW:
        yield ("window",), "must be more than nothing and at most 1d", ()
    yield from _effects(rule)


def _effects(rule: AutomationRule) -> Iterator[tuple[KeyPath, str, tuple[str, ...]]]:
    effects, scope = set(rule.effects), set(rule.scope)
    limits = rule.connections is not None or rule.message_rates
    if "limit" in effects and not limits:
        yield ("effects",), '"limit" needs connections or message_rates', ("connections", "message_rates")
    if limits and "limit" not in effects:
        key = "connections" if rule.connections is not None else "message_rates"
        yield (key,), 'has no meaning without the effect "limit"', ("effects",)
    if "close" in effects and not scope <= OF_A_PATH:
        others = ", ".join(sorted(scope - OF_A_PATH))
        yield ("scope",), f'"close" is for connections, which are of a source and a site, not of: {others}', ()
    if ("pool" in effects) != (rule.pool is not None):
        key = "effects" if rule.pool is None else "pool"
        yield (key,), 'the effect "pool" and the key pool need each other', ("effects", "pool")
    if "pool" in effects and "source" in scope:
        yield ("scope",), '"pool" moves mail before its source is chosen; use "pool" instead of "source"', ("effects",)
    if "hold_mailing" in effects and "mailing" not in scope:
        yield ("scope",), '"hold_mailing" needs "mailing"', ("effects",)

"""Declare metrics in the body of a class, one line each, that every process then makes for itself.

A declaration has the type of what it stands for, and the name of its attribute unless it is ``named``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Concatenate, ParamSpec, TypeVar, cast

from mta.observe.shared_counters import SharedCounters

Arguments = ParamSpec("Arguments")
Made = TypeVar("Made")


@dataclass(frozen=True, slots=True)
class Declared:
    """``make``: makes the metric, by its name. ``name`` None: that of its attribute."""

    make: Callable[[SharedCounters, str], object]
    name: str | None = None


def _declares(method: Callable[Concatenate[SharedCounters, str, Arguments], Made]) -> Callable[Arguments, Made]:
    """Return a function that declares what ``method`` makes."""

    def declare(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Made:
        return cast("Made", Declared(lambda shared, name: method(shared, name, *args, **kwargs)))

    return declare


counter = _declares(SharedCounters.counter)
counters = _declares(SharedCounters.counters)
table = _declares(SharedCounters.counter_table)
gauge = _declares(SharedCounters.gauge)
gauges = _declares(SharedCounters.gauges)
histogram = _declares(SharedCounters.histogram)
histograms = _declares(SharedCounters.histograms)


def named(name: str, metric: Made) -> Made:
    """Give a declared metric another name than its attribute's."""
    return cast("Made", replace(cast("Declared", metric), name=name))


def take_declared(owner: type) -> dict[str, Declared]:
    """Remove the declarations from a class and return them by attribute, in their order. Left there, each would slow
    down every look at the attribute of the same name that an instance has."""
    found = {attribute: each for attribute, each in vars(owner).items() if isinstance(each, Declared)}
    for attribute in found:
        delattr(owner, attribute)
    return found

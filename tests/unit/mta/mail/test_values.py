"""Objects are replaced as the standard library does it."""

from __future__ import annotations

import dataclasses

import pytest

from mta.mail.values import dataclass, replace


@dataclass(frozen=True, slots=True)
class One:
    only: int = 1


@dataclass(frozen=True, slots=True)
class Several:
    first: str
    second: tuple[int, ...] = ()
    third: dict[str, int] = dataclasses.field(default_factory=dict, compare=False)


@pytest.mark.parametrize(
    ("value", "changes"),
    [(One(2), {"only": 3}), (One(2), {}), (Several("a", (1,), {"k": 1}), {"second": (2,), "first": "b"})],
)
def test_as_the_standard_library(value: One | Several, changes: dict[str, object]) -> None:
    made, wanted = replace(value, **changes), dataclasses.replace(value, **changes)  # type: ignore[arg-type]
    assert dataclasses.astuple(made) == dataclasses.astuple(wanted)
    assert made.__class__ is value.__class__
    assert made is not value


def test_an_unknown_field_is_an_error() -> None:
    with pytest.raises(KeyError):
        replace(Several("a"), fourth=1)  # type: ignore[call-arg]

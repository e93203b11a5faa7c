"""Dataclasses whose objects nobody changes, made and changed as fast as any other.

With ``frozen=True`` the standard library sets each field through ``object.__setattr__``: making an object takes three
times as long, and a message takes about seventy on its way. Here ``frozen`` is kept by the type checker alone; at run
time such a class is an ordinary one that can be hashed by its fields. Its ``replace`` looks at each field by name,
which takes up to twice as long as reading all of them at once.

Limitations: a class inherits from classes made by the same ``dataclass`` only. ``replace`` is for classes whose fields
are all arguments of ``__init__``, in their order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

__all__ = ["dataclass", "replace"]

if TYPE_CHECKING:
    from dataclasses import dataclass, replace
else:
    import dataclasses
    from functools import cache
    from operator import attrgetter

    def dataclass(*, frozen=False, eq=True, **options):
        """Return the decorator ``dataclasses.dataclass`` of these options."""
        return dataclasses.dataclass(eq=eq, unsafe_hash=frozen and eq, **options)

    def replace(value, /, **changes):
        """Return a copy of a dataclass's object with other values of some fields."""
        read, place = _fields(value.__class__)
        fields = list(read(value))
        for name, new in changes.items():
            fields[place[name]] = new
        return value.__class__(*fields)

    @cache
    def _fields(kind):
        """Return what reads all fields, and the place of each."""
        names = [field.name for field in dataclasses.fields(kind)]
        read = attrgetter(*names) if len(names) > 1 else lambda value: [getattr(value, name) for name in names]
        return read, {name: n for n, name in enumerate(names)}

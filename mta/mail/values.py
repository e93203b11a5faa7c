"""Dataclasses whose objects nobody changes, made as fast as any other.

With ``frozen=True`` the standard library sets each field through ``object.__setattr__``: making an object takes three
times as long, and a message takes about seventy on its way. Here ``frozen`` is kept by the type checker alone; at run
time such a class is an ordinary one that can be hashed by its fields.

Limitations: a class inherits from classes made by the same ``dataclass`` only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

__all__ = ["dataclass"]

if TYPE_CHECKING:
    from dataclasses import dataclass
else:
    import dataclasses

    def dataclass(*, frozen=False, eq=True, **options):
        """Return the decorator ``dataclasses.dataclass`` of these options."""
        return dataclasses.dataclass(eq=eq, unsafe_hash=frozen and eq, **options)

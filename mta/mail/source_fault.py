"""What can be wrong with an address that we send from."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class SourceFaultKind(Enum):
    """``ABSENT``: this machine lacks the address. The others are what the DNS says."""

    ABSENT = "absent"
    NO_PTR = "no_ptr"
    PTR_UNCONFIRMED = "ptr_unconfirmed"
    PTR_GENERIC = "ptr_generic"
    EHLO = "ehlo"
    SPF = "spf"


@dataclass(frozen=True, slots=True)
class SourceFault:
    """``text``: what is wrong. ``remedy``: what to do about it."""

    kind: SourceFaultKind
    text: str
    remedy: str

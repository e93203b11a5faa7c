"""Which addresses reach one mailbox, so that it gets one copy of a mailing.

Case, quotes and the spelling of the domain never matter (``Address.key``); subaddresses and dots as the provider reads
them (``config/defaults/mailbox_spellings.toml``).

Limitations: who forwards mail from one mailbox to another is not known.
"""

from __future__ import annotations

from functools import cache
from typing import Literal

from config.toml import DEFAULTS, read, read_text
from config.types import Section
from mta.mail.address import Address

SHIPPED = DEFAULTS / "mailbox_spellings.toml"


class Copies(Section):
    """How many copies of a mailing a mailbox gets: the table `[copies]` of a profile."""

    one: bool = False
    """Whether a mailbox gets one copy of a mailing, however its address is spelled. Further ones are accepted, recorded
    and not sent."""
    subaddresses: Literal["known", "all", "none"] = "known"
    """Where `ann+news@` is the mailbox `ann@`: at providers that are `known` to read it so, at `all`, or at `none`."""
    dots: bool = True
    """Whether dots make no difference at the providers that ignore them, such as Gmail."""


class _Spellings(Section):
    """``config/defaults/mailbox_spellings.toml``."""

    subaddresses: list[str]
    dots: list[str]
    same: list[list[str]]


def mailbox_of(address: Address, copies: Copies) -> str:
    """Return the name of the mailbox that ``address`` reaches, the same for all of its spellings."""
    known = _shipped()
    local, _, domain = address.key.rpartition("@")
    if copies.subaddresses == "all" or (copies.subaddresses == "known" and domain in known.subaddresses):
        local = local.partition("+")[0] or local
    if copies.dots and domain in known.dots:
        local = local.replace(".", "") or local
    domain = next((same[0] for same in known.same if domain in same), domain)
    return f"{local}@{domain}"


@cache
def _shipped() -> _Spellings:
    return read(read_text(SHIPPED), SHIPPED.name, _Spellings, lambda _: ())

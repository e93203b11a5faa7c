"""The addresses at the returns domain, and what each is for.

    bounce+...   return paths of our messages          abuse        people who complain
    fbl          feedback loops (CFBL-Address)         postmaster   people who write to us as mail hosts
    unsubscribe  List-Unsubscribe

It must never know an address that is not in this list: what it does not know is not taken.

*Limits.* ``unsubscribe+TOKEN`` and ``fbl+ANYTHING`` are taken too, as some programs and loops ask for them.
"""

from __future__ import annotations

from enum import Enum

from mta.mail.address import Address


class ReportMailbox(Enum):
    """Whom a mail at the returns domain is for."""

    BOUNCE = "bounce"
    FEEDBACK = "fbl"
    UNSUBSCRIBE = "unsubscribe"
    ABUSE = "abuse"
    POSTMASTER = "postmaster"

    @property
    def people(self) -> bool:
        """Whether people read it."""
        return self in (ReportMailbox.ABUSE, ReportMailbox.POSTMASTER)


def mailbox_of(address: Address, domain: str) -> ReportMailbox | None:
    """The mailbox at ``domain`` that ``address`` names, without looking at what it says behind the plus."""
    if address.domain != domain:
        return None
    name, plus, _ = address.local.lower().partition("+")
    try:
        found = ReportMailbox(name)
    except ValueError:
        return None
    return found if bool(plus) or found is not ReportMailbox.BOUNCE else None


def detail_of(address: Address) -> str:
    """What stands behind the plus, empty if nothing does."""
    return address.local.partition("+")[2]

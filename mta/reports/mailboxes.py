"""The mailboxes of the return path domain.

    bounce+...   return paths of our messages          abuse        complaints of people
    fbl          feedback loops (CFBL-Address)         postmaster   mail to the operator of this host
    unsubscribe  List-Unsubscribe

Invariants: Any other address is rejected. A detail part (``fbl+ANYTHING``, RFC 5233) is accepted and ignored, because
some programs and feedback loops add one. A token does not fit into an address.
"""

from __future__ import annotations

from enum import Enum

from mta.mail.address import Address


class ReportMailbox(Enum):
    """A mailbox of the return path domain."""

    BOUNCE = "bounce"
    FEEDBACK = "fbl"
    UNSUBSCRIBE = "unsubscribe"
    ABUSE = "abuse"
    POSTMASTER = "postmaster"


def mailbox_of(address: Address, domain: str) -> ReportMailbox | None:
    """Return the mailbox at ``domain`` that ``address`` names, ignoring its detail part; None if there is none."""
    if address.domain != domain:
        return None
    name, plus, _ = address.local.lower().partition("+")
    try:
        found = ReportMailbox(name)
    except ValueError:
        return None
    return found if bool(plus) or found is not ReportMailbox.BOUNCE else None

"""From what a person writes to abuse or postmaster, to what follows: a case, no more mail for whoever wants none, and
in any case a letter for the people who answer.

It must never suppress anybody but by a token of ours, which only who had the message can send: the sender of a mail may
be anybody. A mailing's id, which many know, is enough for a case.

*Limits.* Without ``reports.postmaster_forward`` a letter is an event that says who wrote, and its text is lost.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from bounce.abuse_mail import AbuseMail
from bounce.mailboxes import ReportMailbox
from mta.mail.address import Address, AddressError
from mta.observe.labels import InboundReportKind
from mta.reports.dedup_key import mark
from mta.store.permission.unsubscribes import PURPOSE
from mta.store.queue.enqueue import NewMessage
from mta.store.results.apply_report import ReportAction
from mta.store.results.report_queue import Arrived
from policy.permission.tokens import Claim, Tokens
from policy.reputation.complaint import EVIDENCE, Complaint, Source

SENDER = 254  # characters


@dataclass(frozen=True, slots=True)
class Named:
    """A mailing of ours that the letter names by its id."""

    mailing: str
    account_id: int


def claim_of(grievance: AbuseMail, tokens: Tokens) -> Claim | None:
    """What the first token of ours in it says."""
    return next((claim for word in grievance.tokens if (claim := tokens.read(word))), None)


def wish(claim: Claim) -> Claim:
    """The same, as if it had come by the way to unsubscribe."""
    return replace(claim, purpose=PURPOSE)


def case_of(
    grievance: AbuseMail, named: Named, source: Source, arrived: Arrived, key_of: Callable[[Address], bytes]
) -> ReportAction:
    """A complaint about a mailing, by somebody who may have got it, or by an authority that has signed it."""
    who = grievance.recipient or grievance.sender or arrived.sender or ""
    try:
        key = key_of(Address.parse(who))
    except AddressError:
        key = None
    by = (grievance.sender or arrived.sender or "somebody")[:SENDER]
    return ReportAction(
        mark=mark("grievance", source.value, named.mailing, key.hex() if key else by),
        sort=InboundReportKind.COMPLAINT,
        kind="complained",
        data={"by": by, "mailing": named.mailing},
        account_id=named.account_id,
        case=Complaint(
            account_id=named.account_id,
            source=source,
            summary=grievance.summary or grievance.subject or "a complaint without words",
            mailing=named.mailing,
            address=who[:SENDER] or None,
            address_key=key,
            evidence=arrived.content[:EVIDENCE],
        ),
    )


def letter(grievance: AbuseMail, mailbox: ReportMailbox, arrived: Arrived, mail: NewMessage | None) -> ReportAction:
    """For the people who answer."""
    told = {
        "to": mailbox.value,
        "from": grievance.sender,
        "subject": grievance.subject,
        "about": grievance.kind.value,
        "case_named": f"C-{grievance.case}" if grievance.case is not None else None,
    }
    return ReportAction(
        mark("abuse_mail", arrived.id, mailbox.value), InboundReportKind.ABUSE_MAIL, "abuse_mail", told, mail=mail
    )

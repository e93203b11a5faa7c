"""What the demo has to look at besides its cases: an account to review, a complaint with a running clock, a pause, and
some traffic for a while.

Invariants: everything is recorded as operators and applications would. It ends with the demo.
"""

from __future__ import annotations

import asyncio
import itertools
import smtplib
from datetime import timedelta

from mta.admin import complaints, shaping
from mta.admin.context import AdminContext
from mta.demo.account import ACCOUNT, BY
from mta.demo.cases import CONFIRMED, LAPSED, DemoCase, DemoOutcome, Expected, SubmissionLogin, submit
from mta.mail.shaping_action import ActionScope
from mta.store.accounts.reviews import Setting
from mta.store.store import Store
from policy.accounts.account import Identity, StatusChange
from policy.reputation.complaint import Complaint, Source

APPLICANT = "schifffahrt"
EVERY = 0.5  # seconds between two messages of the traffic
MESSAGES = 480  # more of the same text within an hour are taken for a mailing
# Mostly good addresses; the receiver answers to some local parts as their names say (mta.testing.script.MANNERS).
_TO = (
    "mia@inbox.example", "leo@club.example", "zoe@inbox.example", "ida@inbox.example", "grey-{n}@club.example",
    "max@inbox.example", "eva@club.example", "unknown-{n}@inbox.example", "noa@spare.example", "tim@inbox.example",
    "busy@club.example", "ben@inbox.example", "uma@club.example", "jan@inbox.example", "pia@spare.example",
)  # fmt: skip

_IDENTITY = Identity(
    language="de",
    names=("Donaudampfschifffahrtselektrizitätenhauptbetriebswerkbauunterbeamtengesellschaft mbH",),
    street="Uferstraße 12",
    postcode="94032",
    city="Passau",
    country="DE",
    phone="+49 851 000001",
    email="kontakt@schifffahrt.example",
    register="HRB Passau",
    number="12345",
    vat="DE123456788",
    representative="K. Kapitänsmützenhalter",
)


async def prepare(store: Store, context: AdminContext) -> None:
    """Add an account that waits for its review, a complaint about the demo's mailing, and a pause."""
    applicant = await store.accounts.add(APPLICANT, domains=["schifffahrt.example"], profile="cleverreach", by=BY)
    await store.reviews.set(applicant.id, {Setting.CONTACT: _IDENTITY.email}, by=BY)
    await store.reviews.set_identity(applicant.id, _IDENTITY, by=BY)
    origin = "Anmeldeformular auf schifffahrt.example seit 2024, mit Double-Opt-in; 4.300 Abonnentinnen und Abonnenten"
    await store.reviews.add_source(applicant.id, "Fahrplanänderungsbenachrichtigungen", origin, by=BY)
    await store.account_status.move(applicant.id, StatusChange.REVIEW, by=BY)
    demo = (await store.accounts.find(ACCOUNT)).account
    mailing = store.mailings.by_name(demo.id, CONFIRMED)
    await complaints.open_case(
        context,
        Complaint(
            demo.id,
            Source.RECIPIENT,
            "I did not sign up for these offers. Please tell me where you have my address from.",
            mailing=mailing.id if mailing else None,
            address=LAPSED,
            evidence=f"From: {LAPSED}\r\nSubject: Who are you?\r\n\r\nI did not sign up for these offers.\r\n".encode(),
            by=LAPSED,
        ),
    )
    tarpit = ActionScope(domain="tarpit.example")
    await shaping.pause(context, tarpit, span=timedelta(hours=2), reason="answers slowly since this morning")


async def traffic(port: int, login: SubmissionLogin) -> None:
    """Submit messages until there were enough; those that are refused are part of the picture."""
    for n, to in zip(range(MESSAGES), itertools.cycle(_TO), strict=False):
        recipient = to.format(n=n)
        case = DemoCase(f"order {1000 + n}", (Expected(recipient, DemoOutcome.DELIVERED),))
        try:
            await asyncio.to_thread(submit, case, port, login)
        except (OSError, smtplib.SMTPException):
            await asyncio.sleep(5)
        await asyncio.sleep(EVERY)

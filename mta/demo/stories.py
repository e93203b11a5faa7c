"""What the demo has to look at besides its cases: an account to review, a complaint with a running clock, a pause, a
mailing to a bad list, which a breaker stops, a sign-up form, and some traffic for a while.

Invariants: everything is recorded as operators and applications would. It ends with the demo.
"""

from __future__ import annotations

import asyncio
import itertools
import smtplib
from datetime import timedelta

from mta.admin import complaints, shaping, sign_up_forms
from mta.admin.context import AdminContext
from mta.demo.account import ACCOUNT, BY, TOPIC, opt_in
from mta.demo.cases import (
    CONFIRMED,
    LAPSED,
    SENDER,
    DemoCase,
    DemoOutcome,
    Expected,
    Newsletter,
    SubmissionLogin,
    content_of,
    submit,
)
from mta.demo.confirmation import confirm_mailing
from mta.demo.environment import DOMAIN, DemoEnvironment
from mta.mail.shaping_action import ActionScope
from mta.store.accounts.reviews import Setting
from mta.store.store import Store
from policy.accounts.account import Identity, StatusChange
from policy.permission.sign_up_form import FormTopic, SignUpForm
from policy.reputation.complaint import Complaint, Source

APPLICANT = "schifffahrt"
FAIR, FAIR_LIST = "fair-visitors", "fair"  # a mailing to addresses that were written down at a fair
_VISITORS = [f"{name}{n}@inbox.example" for n in range(16) for name in ("unknown-visitor-", "visitor-")]
_LATE = 10  # visitors whose mail comes when the breaker has tripped
EVERY = 0.5  # seconds between two messages of the traffic
LATE_EVERY = 20  # messages
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


_FORM = SignUpForm(
    name="newsletter",
    sender=SENDER,
    version="1",
    statements={
        "en": "Yes, Demo Bakery B.V. may send me e-mail about the topics that I choose. I can unsubscribe at any time.",
        "de": "Ja, Demo Bakery B.V. darf mir E-Mails zu den gewählten Themen senden. Ich kann mich jederzeit abmelden.",
    },
    topics=[
        FormTopic(name=TOPIC, labels={"en": "Our weekly offers", "de": "Unsere Angebote der Woche"}),
        FormTopic(name="courses", labels={"en": "Baking courses", "de": "Sauerteigbrotbackkursankündigungen"}),
    ],
)


async def prepare(store: Store, context: AdminContext, environment: DemoEnvironment) -> str:
    """Record what there is to look at; return the id of the sign-up form."""
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

    form = await sign_up_forms.put(context, ACCOUNT, _FORM)
    await store.reviews.add_source(demo.id, FAIR_LIST, "written down by hand at the autumn fair", by=BY)
    await store.reviews.approve_source(demo.id, FAIR_LIST, by=BY)
    await store.mailings.add(demo.id, FAIR, topic=TOPIC, list=FAIR_LIST, by=BY)
    await store.consents.record(demo.id, [opt_in(each, host=DOMAIN) for each in _VISITORS], by=BY)
    await confirm_mailing(environment, FAIR, content_of(_to_visitor(_VISITORS[0])))
    return form.id


def _to_visitor(address: str) -> DemoCase:
    expected = (Expected(address, DemoOutcome.DELIVERED),)
    return DemoCase("thank you for your visit", expected, newsletter=Newsletter(FAIR))


async def traffic(port: int, login: SubmissionLogin) -> None:
    """Submit messages until there were enough; those that are refused are part of the picture."""
    visitors = iter(_VISITORS)
    for n, to in zip(range(MESSAGES), itertools.cycle(_TO), strict=False):
        case = DemoCase(f"order {1000 + n}", (Expected(to.format(n=n), DemoOutcome.DELIVERED),))
        is_early = n < len(_VISITORS) - _LATE
        if (is_early or n % LATE_EVERY == 0) and (visitor := next(visitors, None)):
            case = _to_visitor(visitor)
        try:
            await asyncio.to_thread(submit, case, port, login)
        except (OSError, smtplib.SMTPException):
            await asyncio.sleep(5)
        await asyncio.sleep(EVERY)

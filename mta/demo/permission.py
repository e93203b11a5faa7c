"""What the demo's account needs before it may send newsletters: a profile, an identity, terms, a list, mailings, and
people who have agreed.

It must never take a short cut: everything is recorded as operators and applications record it.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from mta.demo.cases import CONFIRMED, LAPSED, READER, UNCONFIRMED
from mta.demo.newsletter import IDENTITY
from mta.mail.address import Address
from mta.store.accounts.reviews import Setting
from mta.store.permission.consent_entries import Given
from mta.store.store import Store
from policy.accounts.account import Identity
from policy.permission.consent import Basis
from policy.permission.evidence import Evidence

BY = "mta demo"
LIST, TOPIC = "newsletter", "offers"
TERMS = "1"  # the version that the settings have if they name none
LONG_AGO = timedelta(days=600)


async def permit(store: Store, account_id: int, *, profile: str, identity: Identity = IDENTITY) -> None:
    """Make the account one that may send newsletters about TOPIC to LIST under ``profile``."""
    await store.reviews.set(account_id, {Setting.PROFILE: profile, Setting.CONTACT: identity.email}, by=BY)
    await store.reviews.accept_terms(account_id, TERMS, person="A. Baker", by=BY)
    await store.reviews.set_identity(account_id, identity, by=BY)
    await store.reviews.add_source(account_id, LIST, "sign-up form in the shop", by=BY)
    await store.reviews.approve_source(account_id, LIST, by=BY)


async def announce(store: Store, account_id: int, name: str, *, confirmed: bool = True, topic: str = TOPIC) -> str:
    """A mailing called ``name``; its id."""
    mailing = await store.mailings.add(account_id, name, topic=topic, list=LIST, by=BY)
    if confirmed:
        await store.mailings.confirm(mailing.id, by="A. Baker", terms=TERMS)
    return mailing.id


def opt_in(address: str, *, host: str, ago: timedelta = timedelta(days=30), topic: str = TOPIC) -> Given:
    """A double opt-in at ``host``, with all the evidence that is asked for."""
    at = datetime.now(UTC) - ago
    return Given(
        address=Address.parse(address),
        topics=(topic,),
        basis=Basis.DOUBLE_OPT_IN,
        given_at=at,
        confirmed_at=at + timedelta(minutes=3),
        evidence=Evidence(
            source_url=f"https://{host}/newsletter",
            ip="192.0.2.77",
            confirm_ip="192.0.2.77",
            statement="Yes, Demo Bakery B.V. may send me its weekly offers by e-mail. I can unsubscribe at any time.",
            statement_version="2025-01",
            language="en",
            preticked=False,
            informed="beside the box, before the sign-up",
        ),
    )


async def prepare(store: Store, account_id: int, host: str) -> None:
    """All that the demo's newsletters need."""
    await permit(store, account_id, profile="cleverreach")
    await announce(store, account_id, CONFIRMED)
    await announce(store, account_id, UNCONFIRMED, confirmed=False)
    readers = [opt_in(READER, host=host), opt_in(LAPSED, host=host, ago=LONG_AGO)]
    await store.consents.record(account_id, readers, by=BY)

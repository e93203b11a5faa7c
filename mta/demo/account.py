"""The demo's account: credential, profile, identity, terms, list, mailings, and consents of recipients.

Invariants: Everything is recorded in the same way as by operators and applications.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

from mta.demo.cases import CONFIRMED, IDENTITY, LAPSED, READER, UNCONFIRMED, SubmissionLogin
from mta.demo.environment import DOMAIN
from mta.mail.address import Address
from mta.mail.message import Stream
from mta.smtp_server.auth.authenticator import make_verifiers, new_secret
from mta.store.accounts.reviews import Setting
from mta.store.permission.ledger import Given
from mta.store.store import Store
from policy.accounts.account import AccountStatus, Grant, Identity
from policy.accounts.purpose import Purpose
from policy.permission.consent import Basis
from policy.permission.evidence import Evidence

ACCOUNT = "demo"
BY = "mta demo"
LIST, TOPIC = "newsletter", "offers"
TERMS = "1"  # the default of the setting
LONG_AGO = timedelta(days=600)


async def permit(store: Store, account_id: int, *, profile: str, identity: Identity = IDENTITY) -> None:
    """Give the account what it needs to send newsletters about TOPIC to LIST under ``profile``."""
    await store.reviews.set(account_id, {Setting.PROFILE: profile, Setting.CONTACT: identity.email}, by=BY)
    await store.reviews.accept_terms(account_id, TERMS, person="A. Baker", by=BY)
    await store.reviews.set_identity(account_id, identity, by=BY)
    await store.reviews.add_source(account_id, LIST, "sign-up form in the shop", by=BY)
    await store.reviews.approve_source(account_id, LIST, by=BY)


async def announce(
    store: Store,
    account_id: int,
    name: str,
    *,
    confirmed: bool = True,
    topic: str = TOPIC,
) -> str:
    """Add a mailing, confirmed without a message if it is; return its id."""
    mailing = await store.mailings.add(account_id, name, topic=topic, list=LIST, by=BY)
    if confirmed:
        await store.mailings.confirm(mailing.id, by="A. Baker", terms=TERMS)
    return mailing.id


def opt_in(address: str, *, host: str, ago: timedelta = timedelta(days=30), topic: str = TOPIC) -> Given:
    """Return a double opt-in given at ``host``, with complete evidence."""
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


async def open_account(store: Store) -> SubmissionLogin:
    """Add an account that may send for DOMAIN, with mailings to be confirmed and consents for the newsletters; return
    its login."""
    login = SubmissionLogin(f"{ACCOUNT}-1", new_secret())
    argon2, scram = await asyncio.to_thread(make_verifiers, login.secret)
    account = await store.accounts.add(
        ACCOUNT, domains=[DOMAIN], status=AccountStatus.ACTIVE, verified=True, by=BY, reason="demo"
    )
    # Both streams: newsletters, and transactional mail as a review would grant it.
    grant = Grant(frozenset(Stream), purposes=(Purpose("demo", "Demonstration: *"),))
    await store.credentials.add(account.id, login.username, argon2=argon2, scram=scram, grant=grant)
    await permit(store, account.id, profile="cleverreach")
    for name in (CONFIRMED, UNCONFIRMED):
        await announce(store, account.id, name, confirmed=False)
    readers = [opt_in(READER, host=DOMAIN), opt_in(LAPSED, host=DOMAIN, ago=LONG_AGO)]
    await store.consents.record(account.id, readers, by=BY)
    return login

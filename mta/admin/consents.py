"""Consents: record one, look at an address, revoke, note a contact; export a ledger, and check its chain.

Invariants: an account reaches its own ledger only.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime

from mta.admin.context import AdminContext
from mta.admin.errors import Forbidden, InvalidValue
from mta.admin.files import consent_fields, consent_records
from mta.admin.files.consent_fields import FieldError, ImportDefaults
from mta.admin.suppressions import require_liftable
from mta.mail.address import Address
from mta.store.permission.consents import ConsentsRecorded, LedgerExtract, Revocation
from mta.store.permission.ledger import Given, Verified
from mta.store.queue.queue import QueueFilter
from policy.permission.consent import EVERY_TOPIC, Sign
from policy.permission.dossier import Dossier
from policy.permission.ledger import Head
from policy.permission.suppression import Reason
from policy.permission.traps import TrapAddresses


async def record(
    context: AdminContext, account: str, fields: Mapping[str, str], *, lift: bool = False
) -> tuple[Given, ConsentsRecorded]:
    """Record one consent, field by field; return it as it was read. ``lift``: suppressions that a newer consent answers
    end. Raises InvalidValue, Forbidden, NotFound, Refused, StoreUnavailable."""
    owner = (await context.account(account)).account
    await require_lift(context, owner.id, lift=lift)
    try:
        given = consent_fields.read(fields, ImportDefaults(datetime.now(UTC)))
    except FieldError as error:
        raise InvalidValue(str(error).partition(":")[0], str(error)) from None
    traps = TrapAddresses.load(context.settings.policy.trap_addresses)
    subject = given.address
    async with context.audited("consent.record", subject, account_id=owner.id, address=given.address) as entry:
        done = await context.store.consents.record(owner.id, [given], by=context.actor.name, lift=lift, traps=traps)
        entry.after.update(topics=list(given.topics), basis=given.basis.value, fresh=done.fresh, lifted=done.lifted)
    return given, done


async def of(context: AdminContext, address: Address, account: str | None = None) -> Sequence[LedgerExtract]:
    """Return what the ledgers have of an address. Raises NotFound, StoreUnavailable."""
    own = await context.account_filter(account)
    found = await context.store.consents.of(address)
    return [each for each in found if own in (None, each.account_id)]


async def concerned(context: AdminContext, account: str, address: Address, topic: str = EVERY_TOPIC) -> int:
    """Return how many queued copies a revocation would cancel, at most. Raises NotFound, StoreUnavailable."""
    owner = (await context.account(account)).account
    queued = QueueFilter(account_id=owner.id, address=str(address), topic=None if topic == EVERY_TOPIC else topic)
    return (await context.store.queue.bounce(queued, "", dry_run=True)).recipients


async def revoke(
    context: AdminContext, account: str, address: Address, *, topic: str = EVERY_TOPIC, reason: str
) -> Revocation:
    """Revoke consent for a topic, or for all, and cancel the queued copies concerned. Raises InvalidValue, NotFound,
    StoreUnavailable."""
    if not reason.strip():
        raise InvalidValue("reason", "why it is revoked must be said")
    owner = (await context.account(account)).account
    async with context.audited("consent.revoke", address, account_id=owner.id, address=address, reason=reason) as entry:
        done = await context.store.consents.revoke(owner.id, address, topic, reason=reason, by=context.actor.name)
        entry.after.update(topic=topic, entry=done.entry, cancelled=done.pulled)
    return done


async def renew(context: AdminContext, account: str, address: Address, sign: Sign, at: datetime | None = None) -> int:
    """Record a contact that restarts the expiry of consents; return the number of its entry. Raises NotFound,
    StoreUnavailable."""
    owner = (await context.account(account)).account
    async with context.audited("consent.renew", address, account_id=owner.id, address=address) as entry:
        number = await context.store.consents.renew(owner.id, address, sign, by=context.actor.name, at=at)
        entry.after.update(sign=sign.value, entry=number)
    return number


def export(context: AdminContext, account_id: int, *, as_json: bool) -> AsyncIterator[tuple[int, str]]:
    """Yield the consents of an account as CSV or JSON lines, as an import reads them, with the number of each part.
    Raises StoreUnavailable."""
    return consent_records.encoded(context.store.consents.export(account_id), as_json=as_json)


async def verify(context: AdminContext, account_id: int, noted: Head | None = None) -> AsyncIterator[int | Verified]:
    """Check the chain of hashes of an account's ledger; yield how many entries are read, at last the result. ``noted``:
    a head that was kept elsewhere. Raises StoreUnavailable."""
    async for step in context.store.consents.verify(account_id, noted):
        yield step


def parse_head(text: str) -> Head:
    """Read a head of a ledger, ``12:0f3a...``. Raises InvalidValue."""
    number, _, digest = text.partition(":")
    try:
        found = Head(int(number), bytes.fromhex(digest))
    except ValueError:
        found = None
    if found is None or len(found.hash) != 32:
        raise InvalidValue("head", f"{text[:80]!r} is not a head: 12:0f3a... with 64 hexadecimal digits")
    return found


async def dossiers(context: AdminContext, address: Address, account: str | None = None) -> list[Dossier]:
    """Return what each account's ledger has about an address; of one account also if that is nothing. Raises NotFound,
    StoreUnavailable."""
    only, now = await context.account_filter(account), datetime.now(UTC)
    known = {each.account_id: each for each in await context.store.consents.of(address)}
    suppressions = [each.suppression for each in await context.store.suppressions.of(address)]
    found = []
    for details in await context.store.accounts.list():
        number = details.account.id
        consents = known.get(number)
        if (consents is not None) if only is None else number == only:
            found.append(
                Dossier(
                    str(address),
                    details.account,
                    now,
                    consents.proofs if consents else (),
                    consents.consents if consents else (),
                    tuple(each for each in suppressions if each.account_id in (None, number)),
                )
            )
    return found


async def require_lift(context: AdminContext, account_id: int, *, lift: bool) -> None:
    """Raises Forbidden if an account would lift suppressions, Refused if its profile keeps them."""
    if not lift:
        return
    if context.actor.account_id is not None:
        raise Forbidden("only an operator can have suppressions lifted by consents")
    await require_liftable(context, account_id, Reason.UNSUBSCRIBE)

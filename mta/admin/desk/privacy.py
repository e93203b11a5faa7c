"""One person's data: all that is kept about an address, and its erasure (GDPR 15 and 17).

Invariants: nothing is erased without an address and a reason, and nothing is called erased that is kept. Only an
operator does it: what is found belongs to all accounts.

Limitations: whole tables are read: it takes as long as that does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from mta.admin import consents
from mta.admin.context import AdminContext
from mta.admin.errors import InvalidValue
from mta.admin.json_values import plain
from mta.mail.address import Address
from mta.store.privacy.data_subjects import Erased
from policy.permission.dossier import as_json

TABLES = ("contacts", "queued", "messages", "refusals", "events", "cases", "references", "sign_ups")
COUNTED = ("consents", "suppressions", *TABLES)


@dataclass(frozen=True, slots=True)
class KeptEvidence:
    """Entries of an account's ledger that are kept as proof against claims, GDPR 17(3)(e)."""

    account: str
    entries: tuple[int, ...]
    until: datetime


@dataclass(frozen=True, slots=True)
class ErasedSubject:
    """The result of an erasure, and what is kept."""

    erased: Erased
    kept: tuple[KeptEvidence, ...]


async def export(context: AdminContext, address: Address) -> dict[str, Any]:
    """Return everything that is kept about an address. Raises Forbidden, StoreUnavailable."""
    context.require_operator()
    subject, names = await context.store.data_subjects.find(address), await context.account_names()

    def named(number: int | None) -> str | None:
        return None if number is None else names.get(number, str(number))

    def row(found: Mapping[str, Any]) -> dict[str, Any]:
        told = dict(found)
        if "account_id" in told:
            told["account"] = named(told.pop("account_id"))
        return told

    return {
        "address": address,
        "consents": [as_json(each) for each in await consents.dossiers(context, address)],
        "suppressions": [
            {
                "account": named(each.suppression.account_id),
                "topic": each.suppression.topic,
                "reason": each.suppression.why,
                "rule": each.suppression.rule,
                "since": each.suppression.since,
                "evidence": each.evidence,
                "message": plain(each.message_id),
            }
            for each in subject.suppressions
        ],
        "contact_of": [named(number) for number in subject.contact_of],
        **{name: [row(each) for each in getattr(subject, name)] for name in TABLES},
    }


async def count(context: AdminContext, address: Address) -> dict[str, int]:
    """Return how much is kept about an address, by kind. Raises Forbidden, StoreUnavailable."""
    found = await export(context, address)
    return {name: len(found[name]) for name in COUNTED}


async def erase(
    context: AdminContext, address: Address, *, reason: str, account: str | None = None, purge_evidence: bool = False
) -> ErasedSubject:
    """Erase an address, for one account or for all: consents are revoked, queued copies cancelled, records lose the
    address, and its keyed hash keeps blocking marketing mail. This cannot be undone.

    ``purge_evidence``: the evidence of its consents too, which is kept for ``retention.consent_evidence`` else. Raises
    Forbidden, InvalidValue, NotFound, StoreUnavailable.
    """
    context.require_operator()
    if not reason.strip():
        raise InvalidValue("reason", "who asked, and how, must be said: it is kept with the erasure")
    scope = await context.account_filter(account)
    keep = None if purge_evidence else context.settings.retention.consent_evidence
    by = f"{context.actor.name}: {reason.strip()[:200]}"
    async with context.audited("privacy.erase", account_id=scope, address=address, reason=reason) as entry:
        erased = await context.store.data_subjects.erase(address, by=by, account_id=scope, keep_proof=keep)
        entry.after.update(
            purge_evidence=purge_evidence, cancelled=erased.pulled, emptied=erased.emptied, kept=len(erased.kept)
        )
    names = await context.account_names()
    kept = (
        KeptEvidence(names.get(each.account_id, str(each.account_id)), each.entries, each.until) for each in erased.kept
    )
    return ErasedSubject(erased, tuple(kept))

"""Complaint cases: list, show, open, answer, decide, close.

Invariants: an account sees and answers its own cases, without the notes and costs of the desk; only the operator and
the abuse desk decide. Closing a case that ends its account needs a word of its own.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from zoneinfo import ZoneInfo

from mta.admin.context import AdminContext
from mta.admin.desk.complaint_notifier import ComplaintNotifier
from mta.admin.errors import InvalidValue, NotFound, Refused
from mta.mail.address import Address
from mta.store.reputation.case_clocks import Desk
from mta.store.reputation.cases import CaseChanged, CaseError, CaseStory, Closed
from policy.accounts.account import AccountStatus
from policy.languages import TextLanguage
from policy.local_format import LocalFormat
from policy.permission import dossier
from policy.permission.consent import EVERY_TOPIC
from policy.permission.evidence import load_assessor
from policy.permission.suppression import Reason
from policy.reputation import complaint
from policy.reputation.complaint import Case, CaseEventKind, CaseState, Complaint, Source, StepRefused, is_persistent

MOST_COSTS = 10**12  # of any currency
OPEN = tuple(each for each in CaseState if each is not CaseState.CLOSED)
OF_THE_DESK = (CaseEventKind.NOTE, CaseEventKind.COST)  # entries that the account does not get


@dataclass(frozen=True, slots=True)
class Termination:
    """Closing a case as justified ends its account: it is the ``number``-th within ``days``."""

    number: int
    days: float


def parse_case(text: str) -> int:
    """Return the number of a case written as ``C-17`` or ``17``. Raises InvalidValue."""
    match = re.fullmatch(r"(?:[Cc]-)?([0-9]{1,18})", text.strip())
    if not match:
        raise InvalidValue("case", f"{text[:40]!r} is not the number of a case, such as C-17")
    return int(match[1])


async def open_desk(context: AdminContext) -> Desk:
    """Return what decisions need of the configuration. Raises ConfigError, StoreUnavailable."""
    return await ComplaintNotifier.open(context.settings, context.store, context.profiles().handling)


async def list_cases(
    context: AdminContext,
    *,
    account: str | None = None,
    states: Sequence[CaseState] | None = OPEN,
    limit: int = 100,
) -> Sequence[Case]:
    """Return cases, the most urgent first. Raises NotFound, StoreUnavailable."""
    found = await context.store.cases.list(await context.account_filter(account), states=states, limit=limit)
    return [_shown(context, each) for each in found]


async def story(context: AdminContext, number: int) -> CaseStory:
    """Return a case with its history, as far as the actor gets it. Raises NotFound, StoreUnavailable."""
    try:
        found = await context.store.cases.show(number)
    except CaseError as error:
        raise NotFound(str(error)) from None
    if context.actor.account_id not in (None, found.case.account_id):
        raise NotFound(f"there is no case C-{number}")
    if context.actor.account_id is None:
        return found
    return CaseStory(_shown(context, found.case), [each for each in found.history if each.kind not in OF_THE_DESK])


def _shown(context: AdminContext, case: Case) -> Case:
    return case if context.actor.account_id is None else replace(case, costs=())


async def dossier_pdf(context: AdminContext, number: int, language: TextLanguage) -> bytes:
    """Return the dossier that is kept with a case, as PDF. Raises NotFound, Refused, StoreUnavailable."""
    case, settings = (await story(context, number)).case, context.settings
    if case.dossier is None:
        raise NotFound(f"{case.number} has no dossier: no recipient was named when it was opened")
    account = (await context.account(case.account)).account
    local = LocalFormat(language, ZoneInfo(settings.server.time_zone))
    writer = dossier.Writer(local, load_assessor(), settings.server.operator or settings.server.hostname)
    try:
        return await asyncio.to_thread(writer.pdf, [dossier.dossier_of_case(case.dossier, account)])
    except dossier.DossierTooLong as error:
        raise Refused(str(error)) from None


async def open_case(context: AdminContext, new: Complaint) -> int:
    """Open a case; the running service notifies the account, and the person who complains gets no more marketing.

    Raises Forbidden, CaseError, StoreUnavailable.
    """
    context.require_operator()
    suppressions = context.store.suppressions
    address = Address.parse(new.address) if new.address else None
    suppress = None
    if address is not None:
        new = replace(new, address_key=suppressions.key(address))
        if new.source is Source.RECIPIENT:
            suppress = suppressions.act(new.account_id, address, Reason.COMPLAINT, topic=EVERY_TOPIC)
    async with context.audited("complaint.open", new.summary, account_id=new.account_id, address=address) as entry:
        number = await context.store.cases.open(new, suppress)
        entry.after.update(case=f"C-{number}")
    return number


async def answer(context: AdminContext, number: int, *, text: str, evidence: bytes = b"") -> CaseChanged:
    """Record the account's answer, which stops its clock.

    Raises InvalidValue, NotFound, CaseError, StoreUnavailable.
    """
    case = (await story(context, number)).case
    text = _required("text", text, "write what happened, and what is done about it")
    async with context.audited("complaint.answer", case.number, account_id=case.account_id):
        changed = await context.store.cases.answer(number, text=text, by=context.actor.name, evidence=evidence)
    return replace(changed, case=_shown(context, changed.case))


async def reject(context: AdminContext, desk: Desk, number: int, *, reason: str) -> CaseChanged:
    """Reject the answer; the clock runs again.

    Raises Forbidden, InvalidValue, NotFound, CaseError, StoreUnavailable.
    """
    context.require_operator()
    case = (await story(context, number)).case
    reason = _required("reason", reason, "write what is wrong with the answer: the account gets it")
    async with context.audited("complaint.reject", case.number, account_id=case.account_id, reason=reason):
        return await context.store.cases.reject(number, desk, reason=reason, by=context.actor.name)


async def accept(context: AdminContext, desk: Desk, number: int, *, terms: str) -> CaseChanged:
    """Accept the answer and what the account will do; one suspended for this case resumes.

    Raises Forbidden, InvalidValue, NotFound, CaseError, StoreUnavailable.
    """
    context.require_operator()
    case = (await story(context, number)).case
    terms = _required("terms", terms, "write what was agreed: the account gets it")
    async with context.audited("complaint.accept", case.number, account_id=case.account_id) as entry:
        entry.after.update(terms=terms)
        return await context.store.cases.agree(number, desk, terms=terms, by=context.actor.name)


async def termination(context: AdminContext, desk: Desk, number: int) -> Termination | None:
    """Return how closing a case as justified would end its account, None if it would not.

    Raises NotFound, Refused if it cannot be closed now, StoreUnavailable.
    """
    case = (await story(context, number)).case
    account = (await context.account(case.account)).account
    ended, now = account.status is AccountStatus.TERMINATED, datetime.now(UTC)
    try:
        complaint.close(case, upheld=True, now=now, terminated=ended)
    except StepRefused as error:
        raise Refused(f"{case.number}: {error}") from None
    clocks = desk.clocks(case.profile)
    since = now - timedelta(seconds=clocks.upheld_within)
    count = await context.store.cases.upheld(case.account_id, since) + (case.opened_at > since)
    if ended or not is_persistent(count, clocks):
        return None
    return Termination(count, clocks.upheld_within / 86400)


async def close(
    context: AdminContext, desk: Desk, number: int, *, upheld: bool, reason: str, may_terminate: bool = False
) -> Closed:
    """Close a case. ``may_terminate``: the account may end by that.

    Raises Forbidden, InvalidValue, NotFound, CaseError, StoreUnavailable.
    """
    context.require_operator()
    case = (await story(context, number)).case
    if upheld and not may_terminate and (ends := await termination(context, desk, number)):
        raise InvalidValue(
            "terminate",
            f"this ends account {case.account} for good: it is upheld complaint number {ends.number} within"
            f" {ends.days:g} days; confirm that it is meant",
        )
    async with context.audited("complaint.close", case.number, account_id=case.account_id, reason=reason) as entry:
        entry.after.update(upheld=upheld)
        return await context.store.cases.close(
            number, desk, upheld=upheld, reason=reason.strip(), by=context.actor.name, may_terminate=may_terminate
        )


async def add_cost(context: AdminContext, case_id: int, what: str, amount: str, currency: str = "EUR") -> Case:
    """Record what a case has cost, to charge it to the account. Raises Forbidden, InvalidValue, NotFound, CaseError,
    StoreUnavailable."""
    context.require_operator()
    if not re.fullmatch(r"[A-Z]{3}", currency):
        raise InvalidValue("currency", f"{currency!r} is not a currency: three capital letters, as in EUR")
    spent = {"what": what, "amount": str(_amount(amount)), "currency": currency}
    case = (await story(context, case_id)).case
    async with context.audited("complaint.cost", case.number, account_id=case.account_id) as entry:
        entry.after.update(spent)
        return await context.store.cases.cost(case_id, spent, by=context.actor.name)


async def note(context: AdminContext, number: int, text: str) -> None:
    """Add a remark, which the account does not get. Raises Forbidden, InvalidValue, NotFound, StoreUnavailable."""
    context.require_operator()
    case = (await story(context, number)).case
    text = _required("text", text, "write the remark")
    async with context.audited("complaint.note", case.number, account_id=case.account_id):
        await context.store.cases.note(number, text, by=context.actor.name)


def _required(field: str, text: str, why: str) -> str:
    if not text.strip():
        raise InvalidValue(field, why)
    return text.strip()


def _amount(text: str) -> Decimal:
    try:
        exact = Decimal(text)
    except InvalidOperation:
        raise InvalidValue("amount", f"{text!r} is not an amount: a number such as 250 or 99.95") from None
    if not exact.is_finite() or abs(exact) >= MOST_COSTS:
        raise InvalidValue("amount", f"{text!r} is not a plausible amount")
    return exact

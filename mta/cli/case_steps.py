"""What ``mta case`` does, step by step; ``case_print`` shows the results.

It must never guess an account: it is named, or the complaint itself names a mailing of ours.

*Limits.* Who signed a file is not verified here: the source is what the operator says.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import TypeVar

from bounce.abuse_mail import AbuseMail, AbuseMailReader
from config.schema import Settings
from config.toml import ConfigError
from mta.cli import mailing_steps
from mta.cli.output import fail
from mta.mail.address import Address, AddressError
from mta.mail.identity import MessageId, parse_id
from mta.service.jobs.complaints import ComplaintNotifier
from mta.store.journal.account_changes import AccountError
from mta.store.postgres.secrets import Secrets
from mta.store.reputation.cases import CaseChanged, CaseError, CaseStory, Closed
from mta.store.store import Store
from policy.accounts.mailing import Mailing
from policy.reputation.complaint import EVIDENCE, Case, CaseState, Complaint, Source

T = TypeVar("T")

LIMIT = 1_000_000  # cases in an export


@dataclass(frozen=True, slots=True)
class Wanted:
    """A case to be opened. What is None is taken from ``file``, as far as it says so."""

    account: str | None
    source: Source
    summary: str | None
    mailing: str | None
    recipient: str | None
    message: str | None
    file: Path | None
    urgent: bool
    by: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a case ends."""

    upheld: bool
    reason: str
    may_terminate: bool
    by: str


async def open_case(settings: Settings, store: Store, wanted: Wanted) -> CaseStory:
    """The case that was opened, or that the complaint was added to."""
    content = read_file(wanted.file) if wanted.file else b""
    said = AbuseMailReader().read(content, datetime.now(UTC)) if wanted.file else None
    mailing = await _mailing(settings, store, wanted, said)
    if wanted.account:
        account_id = (await _refusable(store.accounts.find(wanted.account))).account.id
    elif mailing:
        account_id = mailing.account_id
    else:
        fail("whose case is it? Name the account (--account), or the mailing (--mailing)", status=2)
    summary = wanted.summary or (said.summary if said else "")
    if not summary:
        fail("what is the complaint? Say it in a sentence: --summary 'never signed up'", status=2)
    address = _address(wanted.recipient or (said.recipient or said.sender if said else None), given=wanted.recipient)
    complaint = Complaint(
        account_id,
        wanted.source,
        summary,
        mailing=mailing.id if mailing else None,
        address=str(address) if address else None,
        address_key=_secrets(settings).address_key(address) if address else None,
        message_id=_message(wanted.message),
        evidence=content,
        urgent=wanted.urgent,
        by=wanted.by,
    )
    return await store.cases.show(await _refusable(store.cases.open(complaint)))


async def find_all(store: Store, account: str | None, states: Sequence[CaseState], limit: int) -> Sequence[Case]:
    return await store.cases.list(await _account_id(store, account), states=states, limit=limit)


async def show(store: Store, which: str) -> CaseStory:
    return await _refusable(store.cases.show(number(which)))


async def answer(store: Store, which: str, text: str, file: Path | None, by: str) -> CaseChanged:
    """Write the account's answer down."""
    content = read_file(file) if file else b""
    return await _refusable(store.cases.answer(number(which), text=text, by=by, evidence=content))


async def reject(settings: Settings, store: Store, which: str, reason: str, by: str) -> CaseChanged:
    case, desk = await _known(settings, store, which)
    return await _refusable(store.cases.reject(case.id, desk, reason=reason, by=by))


async def agree(store: Store, which: str, terms: str, by: str) -> CaseChanged:
    return await _refusable(store.cases.agree(number(which), terms=terms, by=by))


async def close(settings: Settings, store: Store, which: str, verdict: Verdict) -> Closed:
    case, desk = await _known(settings, store, which)
    return await _refusable(
        store.cases.close(
            case.id,
            desk.clocks(case.profile),
            upheld=verdict.upheld,
            reason=verdict.reason,
            by=verdict.by,
            may_terminate=verdict.may_terminate,
        )
    )


async def cost(store: Store, which: str, what: str, amount: str, currency: str, by: str) -> Case:
    try:
        exact = Decimal(amount)
    except InvalidOperation:
        fail(f"{amount!r} is not an amount: a number such as 250 or 99.95", status=2)
    if not exact.is_finite() or abs(exact) >= 10**12:
        fail(f"{amount!r} is not an amount that anybody pays", status=2)
    if not re.fullmatch(r"[A-Z]{3}", currency):
        fail(f"{currency!r} is not a currency: three capital letters, as in EUR", status=2)
    spent = {"what": what, "amount": str(exact), "currency": currency}
    return await _refusable(store.cases.cost(number(which), spent, by=by))


async def note(store: Store, which: str, text: str, by: str) -> str:
    await _refusable(store.cases.note(number(which), text, by=by))
    return f"C-{number(which)}: noted."


async def collect(store: Store, account: str | None, since: datetime | None) -> list[CaseStory]:
    """Every case with its history, closed ones too."""
    cases = await store.cases.list(await _account_id(store, account), since=since, limit=LIMIT)
    return [await store.cases.show(case.id) for case in sorted(cases, key=lambda case: case.id)]


def number(which: str) -> int:
    """``C-17``, ``c17`` or ``17``; else exit status 2."""
    match = re.fullmatch(r"\s*(?:[cC]-?)?(\d{1,15})\s*", which)
    if not match:
        fail(f"{which!r} is not a case: they are called C-1, C-2 ... (mta case list)", status=2)
    return int(match[1])


def read_file(path: Path) -> bytes:
    """As much of a file as is kept."""
    try:
        with open(path, "rb") as file:
            return file.read(EVIDENCE)
    except OSError as error:
        fail(f"{path}: {error.strerror}", status=2)


async def _known(settings: Settings, store: Store, which: str) -> tuple[Case, ComplaintNotifier]:
    told = await show(store, which)
    try:
        return told.case, await ComplaintNotifier.open(settings, store)
    except ConfigError as error:
        fail("\n".join(error.lines))


async def _mailing(settings: Settings, store: Store, wanted: Wanted, said: AbuseMail | None) -> Mailing | None:
    if wanted.mailing:
        return await mailing_steps.find(settings, store, wanted.mailing, wanted.account)
    if said is None:
        return None
    for mailing_id in (*said.mailings, *mailing_steps.ids_in_tokens(settings, " ".join(said.tokens))):
        if record := await store.mailings.show(mailing_id):
            return record.mailing
    return None


def _address(text: str | None, *, given: str | None) -> Address | None:
    """What the operator gives must be one; what a complaint says may be none."""
    if not text:
        return None
    try:
        return Address.parse(text)
    except AddressError as error:
        if given:
            fail(f"{text!r}: {error}", status=2)
        return None


def _message(text: str | None) -> MessageId | None:
    try:
        return parse_id(text) if text else None
    except ValueError as error:
        fail(str(error), status=2)


def _secrets(settings: Settings) -> Secrets:
    return Secrets.load_or_create(settings.server.secret_file or settings.server.data_dir / "secret")


async def _account_id(store: Store, name: str | None) -> int | None:
    return (await _refusable(store.accounts.find(name))).account.id if name else None


async def _refusable(work: Awaitable[T]) -> T:
    """The result of ``work``; what the store refuses is one sentence and exit status 1."""
    try:
        return await work
    except (AccountError, CaseError) as error:
        fail(str(error))

"""What ``mta mailing`` does, step by step; ``mailing_print`` shows the results.

It must never guess which mailing is meant: of several with one name it asks for the account.
"""

from __future__ import annotations

from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from config.schema import Settings
from config.toml import ConfigError
from mta.cli.mailing.lookup import find_mailing
from mta.cli.output import fail
from mta.mail.message import Stream
from mta.service.config_validation import validate_profiles
from mta.store.accounts.accounts import AccountError
from mta.store.mailings.mailing_holds import QueueMoved
from mta.store.mailings.mailing_records import MailingStory
from mta.store.mailings.mailings import MailingError, MailingRecord
from mta.store.store import Store
from policy.accounts.account import Account
from policy.accounts.mailing import Mailing
from policy.profile import UnknownProfile
from policy.rules.mailing.sampling import Sampling

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Wanted:
    """A mailing to be made. ``sample`` None: as the profile says; 0: no sampling."""

    account: str
    name: str
    topic: str
    list: str
    sample: int | None
    by: str


@dataclass(frozen=True, slots=True)
class Made:
    """A new mailing, and what its profile will ask of its list."""

    mailing: Mailing
    account: str


@dataclass(frozen=True, slots=True)
class Stop:
    reason: str
    bounce: bool
    by: str


@dataclass(frozen=True, slots=True)
class Listed:
    records: Sequence[MailingRecord]
    accounts: Mapping[int, str]


async def add(settings: Settings, store: Store, wanted: Wanted) -> Made:
    account = (await _refusable(store.accounts.find(wanted.account))).account
    sample = wanted.sample
    if sample is None and await store.mailings.is_new_list(account.id, wanted.list):
        sample = sample_of(settings, account)
    mailing = await _refusable(
        store.mailings.add(
            account.id, wanted.name, topic=wanted.topic, list=wanted.list, by=wanted.by, sample=sample or None
        )
    )
    return Made(mailing, account.name)


def sample_of(settings: Settings, account: Account) -> int | None:
    """How many messages of a first mailing to a new list go out unseen, as the account's profile says; None: all."""
    try:
        rules = validate_profiles(settings).get(account.profile).streams.get(Stream.MARKETING)
    except (ConfigError, UnknownProfile) as error:
        fail(str(error))
    sampling = rules.settings.get(Sampling.name) if rules else None
    return sampling.size if isinstance(sampling, Sampling.Settings) else None


async def find_all(store: Store, account: str | None, limit: int) -> Listed:
    accounts = await store.accounts.list()
    known = {each.account.id: each.account.name for each in accounts}
    wanted = (await _refusable(store.accounts.find(account))).account.id if account else None
    return Listed(await store.mailings.list(wanted, limit=limit), known)


async def story(settings: Settings, store: Store, which: str, account: str | None, events: int) -> MailingStory:
    found = await find_mailing(settings, store, which, account)
    told = await store.mailings.story(found.id, events=events)
    if told is None:
        fail(f"there is no mailing {found.id}")
    return told


async def confirm(settings: Settings, store: Store, which: str, account: str | None, by: str) -> str:
    mailing = await find_mailing(settings, store, which, account)
    terms = settings.policy.terms.version
    moved = await _refusable(store.mailings.confirm(mailing.id, by=by, terms=terms))
    return f'Mailing "{mailing.name}" is confirmed by {by} under version {terms} of the terms. {_moved(moved)}'


async def release(settings: Settings, store: Store, which: str, account: str | None, by: str) -> str:
    mailing = await find_mailing(settings, store, which, account)
    moved = await _refusable(store.mailings.release(mailing.id, by=by))
    if mailing.confirmation is None:
        return f'Mailing "{mailing.name}" goes in full once it is confirmed: mta mailing confirm {mailing.id}'
    return f'Mailing "{mailing.name}" is released by {by}. {_moved(moved)}'


async def stop(settings: Settings, store: Store, which: str, account: str | None, wanted: Stop) -> str:
    mailing = await find_mailing(settings, store, which, account)
    moved = await _refusable(store.mailings.halt(mailing.id, by=wanted.by, why=wanted.reason, bounce=wanted.bounce))
    return f'Mailing "{mailing.name}" is stopped by {wanted.by}: {wanted.reason}. {_moved(moved)}'


def _moved(moved: QueueMoved) -> str:
    counts = ((moved.released, "released"), (moved.held, "held"), (moved.bounced, "to fail"))
    told = ", ".join(f"{count} {what}" for count, what in counts if count)
    more = f"; {moved.still_held} of the released ones have other holds" if moved.still_held else ""
    return f"Recipients in the queue: {told or 'none concerned'}{more}."


async def _refusable(work: Awaitable[T]) -> T:
    """The result of ``work``; what the store refuses is one sentence and exit status 1."""
    try:
        return await work
    except (AccountError, MailingError) as error:
        fail(str(error))

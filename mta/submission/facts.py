"""Gathers what rules may know of a message: everything that needs a look elsewhere, before the pure chain runs.

It must never decide, and never leave out a fact because it could not be had: then the message is put off.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from mta.mail.address import Address
from mta.mail.message import Message, Stream
from mta.store.store import Store
from mta.submission.content_scan.scanners import Scanners
from mta.submission.control_headers import SubmissionOptions
from policy.accounts.account import Account, Grant
from policy.accounts.mailing import Mailing
from policy.base import Facts, RecipientFacts
from policy.chain import Chain
from policy.text.message_text import MessageText


@dataclass(frozen=True, slots=True)
class SubmittingClient:
    """Who submits: the account, and what its credential may do."""

    account: Account
    grant: Grant = field(default_factory=Grant)


def facts_so_far(sender: SubmittingClient, stream: Stream) -> Facts:
    """What is known when a recipient is named and the message has not come yet."""
    return Facts(sender.account, stream=stream, grant=sender.grant)


async def gather(
    store: Store,
    scanners: Scanners,
    sender: SubmittingClient,
    message: Message,
    wishes: SubmissionOptions,
    stream: Stream,
    chain: Chain,
    known: Mapping[Address, RecipientFacts],
) -> Facts:
    """All that the rules of ``chain`` may know. ``known``: recipients that were looked up when they were named.

    Raises StoreUnavailable.
    """
    mailing = await _mailing(store, sender.account, wishes)
    return Facts(
        sender.account,
        stream=stream,
        grant=sender.grant,
        mailing_name=wishes.mailing,
        mailing=mailing,
        topic=wishes.topic or (mailing.topic if mailing else None),
        recipients=await _recipients(store, sender.account, message, known),
        reading=MessageText(message.content),
        scans=await scanners.scan(message) if chain.needs_scans else (),
    )


async def _mailing(store: Store, account: Account, wishes: SubmissionOptions) -> Mailing | None:
    """The mailing from memory; one that is unknown there, or would stop the message, is looked at again."""
    if wishes.mailing is None:
        return None
    mailing = store.mailings.by_name(account.id, wishes.mailing)
    if mailing is None or mailing.confirmation is None or not mailing.approved:
        mailing = await store.mailings.find(account.id, wishes.mailing)
    return mailing


async def _recipients(
    store: Store, account: Account, message: Message, known: Mapping[Address, RecipientFacts]
) -> tuple[RecipientFacts, ...]:
    addresses = [recipient.address for recipient in message.envelope.recipients]
    found = dict(known)
    if missing := [address for address in addresses if address not in found]:
        found.update((facts.address, facts) for facts in await store.recipients.find(account.id, missing))
    return tuple(found[address] for address in dict.fromkeys(addresses))

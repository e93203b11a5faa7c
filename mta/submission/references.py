"""The references of mailings, compiled: read when a mailing's first message comes, and kept while it is sent.

Invariants: what is kept belongs to the references that the mailing has now: a new one is read, one that was removed or
from which an address was erased is no longer used.

Limitations: of the mailings used last as many are kept as fit into ``MOST_OCTETS``.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from dataclasses import replace

from mta.mail.message import Message
from mta.store.store import Store
from policy.accounts.mailing import Mailing
from policy.mailing.reference import Matched, ReadMessage, References, Unmatched, compile_references
from policy.text.message_text import MessageText

MOST_OCTETS = 64 * 1024 * 1024

_Key = tuple[str, tuple[int, ...], tuple[int, ...]]


class CompiledReferences:
    """One for each process."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._compiled: OrderedDict[_Key, References] = OrderedDict()

    async def compare(
        self, mailing: Mailing, message: Message, reading: MessageText, *, in_thread: bool = False
    ) -> Matched | Unmatched:
        """Return which reference of its mailing the message matches, or how it differs. ``in_thread``: it is large.
        Raises StoreUnavailable."""
        references = await self._of(mailing)
        recipients = [recipient.address for recipient in message.envelope.recipients]

        def compared() -> Matched | Unmatched:
            return references.compare(ReadMessage.of(message.headers, reading, message.size, recipients))

        found = await asyncio.to_thread(compared) if in_thread else compared()
        if isinstance(found, Unmatched) and mailing.redacted:
            numbers = ", ".join(map(str, mailing.redacted))
            return replace(found, text=f"{found.text} (an address was erased from reference {numbers}, which ended it)")
        return found

    async def _of(self, mailing: Mailing) -> References:
        key = mailing.id, mailing.references, mailing.redacted
        compiled = self._compiled.get(key)
        if compiled is None:
            confirmed = await self._store.mailings.reference_contents(mailing.id)
            submitted = [(each.number, each.sample_of, each.content) for each in confirmed if each.counts]
            compiled = self._compiled[key] = await asyncio.to_thread(compile_references, submitted)
            while len(self._compiled) > 1 and sum(each.octets for each in self._compiled.values()) > MOST_OCTETS:
                self._compiled.popitem(last=False)
        self._compiled.move_to_end(key)
        return compiled

"""Reply address: recipients can reply, and the reply is read.

Replies go to the Reply-To field, else to the From field. Either must be one address in a domain of the account that
accepts mail; a mailbox whose name says that it is not read (``config/defaults/no_reply.toml``) is not a reply address.

Invariants: a domain known to accept no mail never passes.

Limitations: whether the mailbox exists, and whether anyone reads it, is unknown. Nothing is known about domains outside
the account: a profile may allow them all the same.
"""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from config.types import Section
from mta.mail.address import Address, AddressError
from mta.mail.message import Message
from mta.mail.reply import Reply
from policy.base import Facts, Pass, Refuse, Verdict
from policy.rule_context import RuleContext
from policy.text.author import read_author
from policy.wordlists import anywhere, bare, shipped

FIELDS = {b"reply-to": "Reply-To", b"from": "From"}


class ReplyAddress:
    name = "reply_address"

    class Settings(Section):
        """Which reply addresses are accepted."""

        no_reply: Literal["refuse", "allow"] = "refuse"
        """Addresses whose name says that they are not read, such as noreply@."""
        foreign: Literal["refuse", "allow"] = "refuse"
        """A Reply-To in a domain that does not belong to the account."""

    def __init__(self, settings: Settings, context: RuleContext) -> None:
        names = [name for group in shipped("no_reply").values() for name in group]
        self._unread = anywhere(names) if settings.no_reply == "refuse" else None
        self._foreign = settings.foreign == "refuse"

    def on_content(self, message: Message, facts: Facts, now: datetime) -> tuple[Verdict, str]:
        found: dict[bytes, Address] = {}
        for name, where in FIELDS.items():
            for value in message.headers.all(name):
                try:
                    address = read_author(value).address
                except AddressError as error:
                    return _refuse(f"the {where} field {error}")
                if address.domain in facts.account.deaf:
                    return _refuse(
                        f"replies would bounce: {address.domain} ({where} field) takes no mail; publish an MX "
                        "record for it, or use another domain"
                    )
                if self._foreign and name == b"reply-to" and address.domain not in facts.account.domains:
                    return _refuse(
                        f"Reply-To {address} is not of this account; use one of its domains or register "
                        f"{address.domain} for it and prove that it is yours"
                    )
                found.setdefault(name, address)
        replies_to = found.get(b"reply-to") or found.get(b"from")
        if replies_to is None:
            return _refuse("there is no address for replies; give the message a From or Reply-To field")
        if self._unread and self._unread.search(bare(replies_to.local)):
            return _refuse(f"{replies_to} says that replies are not read; use an address that is read")
        return Pass(), f"replies go to {replies_to}"


def _refuse(fact: str) -> tuple[Verdict, str]:
    return Refuse(Reply(550, "5.7.1", f"reply_address: {fact}")), ""

"""Sender identity: an account sends in its own name only.

The envelope sender, the From field and the Sender field must each hold one address whose domain belongs to the
account. One strict parser reads them all (``mta.mail.mailbox``); what it cannot read is refused, because somebody
else's mail program might read another name there.

*Limits.* A null envelope sender is allowed: the From field still names the account. Subdomains must be registered
themselves.
"""

from __future__ import annotations

from datetime import datetime

from config.notation import Section
from mta.mail.address import Address, AddressError
from mta.mail.headers import unfold
from mta.mail.mailbox import parse_mailbox
from mta.mail.message import Message
from mta.mail.reply import Reply
from policy.account import Account
from policy.base import Facts, Pass, Refuse, Verdict
from policy.house import House


def foreign(account: Account, where: str, address: Address) -> Reply | None:
    """The refusal if ``address`` is not the account's to use."""
    if address.domain in account.domains:
        return None
    return Reply(
        550,
        "5.7.1",
        f"sender_identity: {where} {address} is not of this account; "
        f"use one of its domains or register {address.domain} for it",
    )


class SenderIdentity:
    name = "sender_identity"

    class Settings(Section):
        """Nothing to choose yet."""

    def __init__(self, settings: Settings, house: House) -> None:
        pass

    def check(self, message: Message, facts: Facts, now: datetime) -> tuple[Verdict, str]:
        sender = message.envelope.sender
        if sender and (reply := foreign(facts.account, "envelope sender", sender)):
            return Refuse(reply), ""
        author: Address | None = None
        for name in (b"from", b"sender"):
            for value in message.headers.all(name):
                where = f"{name.decode().title()} field"
                try:
                    author = parse_mailbox(unfold(value))
                except AddressError as error:
                    return Refuse(Reply(550, "5.7.1", f"sender_identity: the {where} {error}")), ""
                if reply := foreign(facts.account, where, author):
                    return Refuse(reply), ""
        return Pass(), f"{author} belongs to {facts.account.name}"

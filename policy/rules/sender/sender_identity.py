"""Sender identity: an account sends in its own name only.

The envelope sender and the fields From, Sender, Resent-From and Resent-Sender must each contain one address in a domain
that is verified for the account and allowed for the credential. One strict parser reads them all
(``mta.mail.mailbox``); a field it cannot read is rejected, because a mail client might read another name there.

Invariants: a domain never counts as the account's because it looks like one of its domains, or is a subdomain of one.

Limitations: a null envelope sender is allowed: the From field still names the account. Subdomains must be registered
separately. Names that only look like another's are checked by ``confusable_names`` and ``display_name``.
"""

from __future__ import annotations

from datetime import datetime

from config.types import Section
from mta.mail.address import Address, AddressError
from mta.mail.message import Message
from mta.mail.reply import Reply
from policy.accounts.account import Account, Grant
from policy.accounts.sender_domain import owner_name, owner_text
from policy.base import Facts, Pass, Refuse, Verdict
from policy.rule_context import RuleContext
from policy.text.author import read_author

FIELDS = {
    b"from": "From field",
    b"sender": "Sender field",
    b"resent-from": "Resent-From field",
    b"resent-sender": "Resent-Sender field",
}


def foreign(account: Account, where: str, address: Address, grant: Grant) -> Reply | None:
    """Return the refusal if ``address`` is not the account's, or not the credential's, to use."""
    domain = address.domain
    if domain in account.unverified:
        text = f"{where} {address}: {domain} is not verified yet; {_proof(account, domain)}"
    elif domain not in account.domains:
        text = (
            f"{where} {address} is not of this account; use one of its domains "
            f"or register {domain} for it and prove that it is yours"
        )
    elif grant.domains is not None and domain not in grant.domains:
        allowed = ", ".join(sorted(grant.domains)) or "none"
        text = f"{where} {address} is not for this credential (its domains: {allowed}); use another credential"
    else:
        return None
    return Reply(550, "5.7.1", f"sender_identity: {text}")


class SenderIdentity:
    name = "sender_identity"
    mandatory = True

    class Settings(Section):
        """No settings: only the account's own domains may be used."""

    def __init__(self, settings: Settings, context: RuleContext) -> None:
        pass

    def on_sender(self, sender: Address | None, facts: Facts, now: datetime) -> tuple[Verdict, str]:
        if sender and (reply := foreign(facts.account, "envelope sender", sender, facts.grant)):
            return Refuse(reply), ""
        return Pass(), ""

    def on_content(self, message: Message, facts: Facts, now: datetime) -> tuple[Verdict, str]:
        account, grant, sender = facts.account, facts.grant, message.envelope.sender
        if sender and (reply := foreign(account, "envelope sender", sender, grant)):
            return Refuse(reply), ""
        author: Address | None = None
        for name, raw in message.headers.fields:
            where = FIELDS.get(name)
            if where is None:
                continue
            try:
                address = read_author(raw.partition(b":")[2]).address
            except AddressError as error:
                return Refuse(Reply(550, "5.7.1", f"sender_identity: the {where} {error}")), ""
            if reply := foreign(account, where, address, grant):
                return Refuse(reply), ""
            author = address if name == b"from" else author
        if author is None:
            text = "sender_identity: the message has no author; add a From field"
            return Refuse(Reply(550, "5.7.1", text)), ""
        return Pass(), f"{author} belongs to {account.name}"


def _proof(account: Account, domain: str) -> str:
    """Return how to verify a domain."""
    if token := account.tokens.get(domain):
        return f'publish {owner_name(domain)}. IN TXT "{owner_text(token)}" and run `mta account check {account.name}`'
    return f"publish the TXT record that `mta account check {account.name}` shows for it"

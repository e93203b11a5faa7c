"""Confusable names: no look-alike letters in the names of the sender.

Checks names and domains in From, Sender and Reply-To: words that mix look-alike letters of several scripts
(Cyrillic ``а`` in ``pаypal``), domains made of look-alikes only, styled letters, and characters that hide or reverse
text.

Invariants: a name is never rejected for being in another script than Latin.

Limitations: those of ``policy.text.scripts``. The links of a message are checked by ``confusable_links``.
"""

from __future__ import annotations

from datetime import datetime

from config.types import Section
from mta.mail.address import AddressError
from mta.mail.headers import unfold
from mta.mail.message import Message
from mta.mail.reply import Reply
from policy.base import Facts, Pass, Refuse, Verdict
from policy.rule_context import RuleContext
from policy.text.author import read_author
from policy.text.header_text import shown
from policy.text.scripts import fake_label, mixed, styled, unseen

FIELDS = {b"from": "From", b"sender": "Sender", b"reply-to": "Reply-To"}


class ConfusableNames:
    name = "confusable_names"

    class Settings(Section):
        """No settings."""

    def __init__(self, settings: Settings, context: RuleContext) -> None:
        pass

    def on_content(self, message: Message, facts: Facts, now: datetime) -> tuple[Verdict, str]:
        looked = 0
        for name, raw in message.headers.fields:
            if where := FIELDS.get(name):
                looked += 1
                if fault := _fault(raw.partition(b":")[2]):
                    text = f"confusable_names: the {where} field {fault}; write the name in letters of one script"
                    return Refuse(Reply(550, "5.7.1", text)), ""
        return Pass(), f"{looked} fields"


def _fault(value: bytes) -> str | None:
    """What is confusable in a raw field value; what cannot be read at all is for other rules."""
    if hidden := unseen(unfold(value)):
        return f"contains an invisible character ({hidden})"
    try:
        author = read_author(value)
    except AddressError:
        return None
    name, domain = author.name, author.address.domain
    if hidden := unseen(name):
        return f"contains an invisible character ({hidden})"
    if found := mixed(name) or mixed(author.address.local):
        return f'mixes {found[1]} in "{shown(found[0])}"'
    if letter := styled(name):
        return f'holds "{letter}", a letter for formulas'
    if fake := fake_label(domain):
        return f'holds the domain {domain}, whose "{shown(fake[0])}" {fake[1]}'
    return None

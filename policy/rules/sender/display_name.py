"""Display name: the name beside the author's address is the author's, and nothing else.

Mail clients show the name and hide the address. So the name must not contain another sender's address or domain, the
recipient's own name, a badge that looks like the client's mark of trust, or a number that looks like its message count
(support.google.com/mail/answer/81126, "display names").

Invariants: no spelling lets another's domain through: case, full-width letters and invisible characters make no
difference.

Limitations: a name such as "Dr.No" is also a domain name, and is rejected unless it is the account's. Company names
without a domain ending are not known. Look-alike letters are checked by ``confusable_names``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime
from functools import lru_cache
from typing import Literal

from pydantic import Field

from config.types import Section
from mta.mail.address import AddressError, parse_domain
from mta.mail.message import Message
from mta.mail.reply import Reply
from policy.base import Facts, Pass, Refuse, Verdict
from policy.organisation import organisation
from policy.rule_context import RuleContext
from policy.text.author import Author, authors
from policy.text.header_text import plain, shown
from policy.wordlists import bare

LOOKED_AT = 20  # recipients

# Check marks, locks, shields, medals, letters and bells; numbers and letters in circles.
BADGES = re.compile("[✓✔☑✅🗸🔒🔐🔏🔓🛡🏅🎖🥇📧📨📩✉💌🔔🔕🆕🔴🔵🟢🟠❗❕‼⚠①-⓿❶-➓🅐-🆚]")
COUNT = re.compile(r"[(\[{]\s*\d{1,4}\+?\s*[)\]}]")
_DOMAIN = re.compile(r"[\w-]{1,63}(?:\.[\w-]{1,63}){1,10}")
_DOTS = str.maketrans("。｡", "..")
_WORD = re.compile(r"[^\W\d_]{2,}")

Trick = Literal["domain", "recipient", "badge", "count"]


class DisplayName:
    name = "display_name"

    class Settings(Section):
        """What a display name may contain."""

        allowed: list[Trick] = Field(default_factory=list)
        """Exceptions: another's domain or address, the recipient's name, a badge, a count."""

    def __init__(self, settings: Settings, context: RuleContext) -> None:
        self._allowed = frozenset(settings.allowed)

    def on_content(self, message: Message, facts: Facts, now: datetime) -> tuple[Verdict, str]:
        found = authors(message, b"from", b"sender")
        for author in found:
            for trick, fault in _faults(author, message, facts):
                if trick not in self._allowed:
                    text = f'display_name: the name "{shown(author.name)}" {fault}; use the name of the sender'
                    return Refuse(Reply(550, "5.7.1", text)), ""
        return Pass(), f'"{shown(found[0].name)}"' if found else "no author"


def _faults(author: Author, message: Message, facts: Facts) -> Iterator[tuple[Trick, str]]:
    if author.name:
        yield from _faults_of_name(author.name, author.address.domain, facts.account.domains)
        if _names_recipient(author.name, message, facts.account.domains):
            yield "recipient", "is the recipient's own"


@lru_cache(4096)
def _faults_of_name(name: str, domain: str, own: frozenset[str]) -> tuple[tuple[Trick, str], ...]:
    """What is wrong with the name for every recipient."""
    faults: list[tuple[Trick, str]] = []
    if other := _other_domain(name, own | {domain}):
        faults.append(("domain", f"holds {other}, which is not the sender's domain"))
    if badge := BADGES.search(name):
        faults.append(("badge", f"holds the badge {badge[0]}"))
    if count := COUNT.search(plain(name)):
        faults.append(("count", f"holds {count[0]}, which looks like a number of messages"))
    return tuple(faults)


def _other_domain(name: str, own: frozenset[str]) -> str | None:
    """A domain in ``name`` that belongs to another organisation than the domains ``own``."""
    text = plain(name).translate(_DOTS)
    if "." not in text:
        return None
    organisations = {organisation(domain) or domain for domain in own}
    for match in _DOMAIN.finditer(text):
        try:
            domain = parse_domain(match[0].strip("-_"))
        except AddressError:
            continue
        other = organisation(domain)
        if other and other not in organisations:
            return domain
    return None


def _names_recipient(name: str, message: Message, own: frozenset[str]) -> bool:
    """Whether ``name`` holds a recipient's name: two words or more of it, from the To field or from the address."""
    words = _words(name)
    if len(words) < 2:
        return False
    addresses = [recipient.address for recipient in message.envelope.recipients[:LOOKED_AT]]
    strangers = {address for address in addresses if address.domain not in own}
    if not strangers:
        return False
    names = [_words(address.local.partition("+")[0]) for address in strangers]
    names += [_words(to.name) for to in authors(message, b"to") if to.address in strangers]
    return any(len(each) >= 2 and each <= words for each in names)


@lru_cache(4096)
def _words(text: str) -> frozenset[str]:
    return frozenset(_WORD.findall(bare(text)))

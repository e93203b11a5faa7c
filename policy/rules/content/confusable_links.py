"""Confusable links: no link leads to a domain that looks like another.

Checks the host of each visible link: labels that mix look-alike letters of several scripts, and labels made of
look-alikes only (support.google.com/mail/answer/81126; UTS 39).

Limitations: those of ``policy.text.scripts`` and ``policy.text.message_text``. The link text is not compared with the
target, because click-tracking links always differ.
"""

from __future__ import annotations

import re
from datetime import datetime
from urllib.parse import unquote

from config.types import Section
from mta.mail.address import AddressError, parse_domain
from mta.mail.message import Message
from mta.mail.reply import Reply
from policy.base import Facts, Pass, Refuse, Verdict
from policy.rule_context import RuleContext
from policy.text.header_text import shown
from policy.text.message_text import Link
from policy.text.scripts import fake_label

_HOST = re.compile(r"https?:[/\\]{2,}(?:[^/\\?#@]*@)?([^/\\?#:\s]{1,300})", re.IGNORECASE)


class ConfusableLinks:
    name = "confusable_links"
    content_only = True

    class Settings(Section):
        """No settings."""

    def __init__(self, settings: Settings, context: RuleContext) -> None:
        pass

    def on_content(self, message: Message, facts: Facts, now: datetime) -> tuple[Verdict, str]:
        unproven = (Link(*link) for piece in facts.reading.unproven for link in piece.links)
        links = (*facts.reading.links, *unproven)
        for host in _odd_hosts([link.url for link in links]):
            if fake := _fake(host):
                text = (
                    f'confusable_links: a link leads to {shown(host)}, whose "{shown(fake[0])}" {fake[1]}; '
                    "link to a domain in letters of one script"
                )
                return Refuse(Reply(550, "5.7.1", text)), ""
        return Pass(), f"{len(links)} links"


def _odd_hosts(urls: list[str]) -> set[str]:
    """The hosts that could be in another script; a look at all at once saves most messages one at each."""
    together = "\n".join(urls)
    if together.isascii() and "%" not in together and "xn--" not in together.lower():
        return set()
    hosts = {found[1] for url in urls if (found := _HOST.match(url))}
    return {host for host in hosts if not host.isascii() or "%" in host or "xn--" in host.lower()}


def _fake(host: str) -> tuple[str, str] | None:
    """What is fake about ``host``, as it stands in a link; None for what no browser could open."""
    if "%" in host:
        host = unquote(host)
    try:
        return fake_label(parse_domain(host))
    except AddressError:
        return None

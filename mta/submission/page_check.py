"""Look at the pages that a message links to when its mailing is confirmed.

The rules name the links and judge the pages (``policy.base.PageRule``); what was seen is kept with the confirmation, so
that no message waits for a page.

Invariants: pages are only asked for (GET), never posted to: that would unsubscribe a person. Only public addresses are
connected to. No cookie is kept.

Limitations: a site that unsubscribes on a GET unsubscribes the recipient whom the message was made for, as the link
scanners of mailbox providers do. A message for a test recipient should be taken.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Protocol
from urllib.parse import quote, urldefrag

from mta.http_client import HttpClient, HttpError, HttpPage
from mta.mail.message import Message, Stream
from mta.mail.reply import sanitise
from mta.observe.labels import PageFetch
from mta.observe.metrics import Metrics
from policy.accounts.account import Account
from policy.accounts.checked_pages import CheckedPage, CheckedPages, shape_of
from policy.base import Facts, PageRule
from policy.chain import Chain
from policy.html.web_page import WebPage, decode_page
from policy.profile import Profiles
from policy.text.message_text import MessageText

MAX_PAGES = 20  # of one message
MAX_PAGE = 1024 * 1024  # octets
_WRITTEN = "%:/?[]@!$&'()*+,;=~"
TIMEOUT = 15.0  # seconds for one link with its redirects
_HEADERS = (("User-Agent", "Imprimatur-LinkCheck/1"), ("Accept", "text/html, application/xhtml+xml, text/plain"))


class PageLookup(Protocol):
    """What tells of the pages that a mailing links to."""

    async def check(self, account: Account, message: Message) -> CheckedPages:
        """Return what is known of the pages that a message of ``account`` links to. Raises UnknownProfile."""
        ...


class PageCheck:
    """Looks at the pages. Use it as a context manager."""

    def __init__(
        self, profiles: Profiles, metrics: Metrics, *, allow_private: bool = False, timeout: float = TIMEOUT
    ) -> None:
        self._profiles, self._metrics, self._timeout = profiles, metrics, timeout
        self._http = HttpClient(timeout=timeout, allow_private=allow_private, keep_alive=False)

    async def check(self, account: Account, message: Message) -> CheckedPages:
        """Return what is found behind the links that the rules of the account name, all asked for at once."""
        wanted = _Wanted.of(self._profiles, account, message)
        urls = list(dict.fromkeys(url for _, url in wanted.links))
        pages = dict(zip(urls, await asyncio.gather(*map(self._fetch, urls)), strict=True))
        now = datetime.now(UTC)
        checked = wanted.answered(lambda rule, url: _judged(rule, url, pages[url], wanted.facts, now))
        for page in checked.pages:
            self._metrics.page_fetches[_result(page)].inc()
        return checked

    async def __aenter__(self) -> PageCheck:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._http.close()

    async def _fetch(self, url: str) -> HttpPage | str:
        """Return the page, or why there is none."""
        try:
            written = quote(urldefrag(url).url, safe=_WRITTEN)  # as browsers do it
            return await self._http.get(written, _HEADERS, answer_limit=MAX_PAGE)
        except TimeoutError:
            return f"no answer within {self._timeout:g} s"
        except HttpError as error:
            return sanitise(str(error), 300)


@dataclass(frozen=True, slots=True)
class SkippedPageCheck:
    """Accepts all pages unseen, by the word of an operator, which is kept."""

    profiles: Profiles
    by: str
    reason: str

    async def check(self, account: Account, message: Message) -> CheckedPages:
        said, now = sanitise(f"not looked at, by {self.by}: {self.reason}", 300), datetime.now(UTC)
        wanted = _Wanted.of(self.profiles, account, message)
        return wanted.answered(lambda rule, url: CheckedPage(rule.name, url, shape_of(url), now, seen=said))


@dataclass(frozen=True, slots=True)
class _Wanted:
    """The links of a message: each once for each rule that names it."""

    chain: Chain
    facts: Facts
    links: Sequence[tuple[PageRule, str]]

    @classmethod
    def of(cls, profiles: Profiles, account: Account, message: Message) -> _Wanted:
        chain = profiles.chain(account.profile, Stream.MARKETING) or Chain()
        facts = Facts(account, stream=Stream.MARKETING, reading=MessageText(message.content))
        links = dict.fromkeys((rule, url) for rule in chain.page_rules for url in rule.pages(message, facts))
        return cls(chain, facts, list(links)[:MAX_PAGES])

    def answered(self, answer: Callable[[PageRule, str], CheckedPage]) -> CheckedPages:
        found = (answer(rule, url) for rule, url in self.links)
        return CheckedPages(tuple(replace(link, observed=link.rule in self.chain.observed) for link in found))


def _result(page: CheckedPage) -> PageFetch:
    if page.status is None:
        return PageFetch.UNANSWERED
    return PageFetch.REFUSED if page.fault else PageFetch.ACCEPTED


def _judged(rule: PageRule, url: str, page: HttpPage | str, facts: Facts, at: datetime) -> CheckedPage:
    if isinstance(page, str):
        return CheckedPage(rule.name, url, shape_of(url), at, fault=page)
    digest = hashlib.sha256(page.body).hexdigest()
    kind = page.content_type.partition(";")[0].strip().lower()
    fault, seen = "", ""
    if page.status != 200:
        fault = f"answers {page.status}, not 200"
    elif kind and not kind.startswith("text/") and kind != "application/xhtml+xml":
        fault = f"is no page that a reader could use, but {sanitise(kind, 60)}"
    else:
        fault, seen = rule.on_page(WebPage(decode_page(page.body, page.content_type)), facts)
    return CheckedPage(
        rule.name, url, shape_of(url), at, page.url, page.status, digest, sanitise(fault, 300), sanitise(seen, 300)
    )

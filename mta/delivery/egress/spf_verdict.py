"""Ask whether an SPF record lets an address send (RFC 7208 4 and 5), by look-ups of the caller.

Limitations: terms with macros are not decided, nor is ``ptr``, which is not to be used (RFC 7208 5.5). Void look-ups
are not counted.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from ipaddress import ip_address, ip_network

from policy.accounts import spf
from policy.accounts.spf import MAX_LOOKUPS, Term

_LENGTHS = re.compile(r"(?:/(?P<four>\d+))?(?://(?P<six>\d+))?$")
_MAX_MX = 10  # RFC 7208 4.6.4


class SpfVerdict(Enum):
    """The results of RFC 7208 2.6, and UNDECIDED for what depends on macros."""

    PASS = "pass"  # noqa: S105 - no password
    FAIL = "fail"
    SOFTFAIL = "softfail"
    NEUTRAL = "neutral"
    NONE = "none"
    PERMERROR = "permerror"
    TEMPERROR = "temperror"
    UNDECIDED = "undecided"


@dataclass(frozen=True, slots=True)
class SpfAnswer:
    """``text``: why, as the rest of a sentence about the domain."""

    verdict: SpfVerdict
    text: str


class SpfLookupError(Exception):
    """The DNS gave no answer."""


Ask = Callable[[str, str], Awaitable[Sequence[str]]]  # name and type; hosts for MX. Raises SpfLookupError

_QUALIFIERS = {
    "+": SpfVerdict.PASS,
    "-": SpfVerdict.FAIL,
    "~": SpfVerdict.SOFTFAIL,
    "?": SpfVerdict.NEUTRAL,
}


async def check_host(ask: Ask, address: str, domain: str) -> SpfAnswer:
    """Return what the SPF record of ``domain`` says of ``address``."""
    try:
        return await _Check(ask, address).of(domain)
    except SpfLookupError as error:
        return SpfAnswer(SpfVerdict.TEMPERROR, str(error))
    except _Undecided as error:
        return SpfAnswer(SpfVerdict.UNDECIDED, str(error))
    except _Permerror as error:
        return SpfAnswer(SpfVerdict.PERMERROR, str(error))


class _Undecided(Exception):
    """It depends on what is not known here."""


class _Permerror(Exception):
    """Receivers give up on the record."""


class _Check:
    def __init__(self, ask: Ask, address: str) -> None:
        self._ask, self._address = ask, ip_address(address)
        self._left = MAX_LOOKUPS

    async def of(self, domain: str) -> SpfAnswer:
        """Return the verdict of a domain's record. Raises SpfLookupError, _Undecided, _Permerror."""
        records = [text for text in await self._ask(domain, "TXT") if spf.is_record(text)]
        if not records:
            return SpfAnswer(SpfVerdict.NONE, "there is no SPF record")
        if len(records) > 1:
            raise _Permerror(f"{domain} has {len(records)} SPF records; it must have one")
        record = spf.read(records[0], domain)
        if record.errors and any("lets everybody" not in error for error in record.errors):
            raise _Permerror(record.errors[0])
        for term in record.terms:
            if term.name not in ("redirect", "exp", "unknown", "") and await self._fits(term, domain):
                return SpfAnswer(_QUALIFIERS[term.qualifier], f"{term.text!r} is what applies to {self._address}")
        return await self._redirected(record.terms, domain)

    async def _redirected(self, terms: Sequence[Term], domain: str) -> SpfAnswer:
        for term in terms:
            if term.name == "redirect":
                self._count(term)
                answer = await self.of(_plain(term))
                if answer.verdict is SpfVerdict.NONE:
                    raise _Permerror(f"{term.text!r} leads to a domain without an SPF record")
                return answer
        return SpfAnswer(SpfVerdict.NEUTRAL, f"no term of {domain} applies to {self._address}")

    async def _fits(self, term: Term, domain: str) -> bool:
        match term.name:
            case "all":
                return True
            case "ip4" | "ip6":
                network = ip_network(term.domain, strict=False)
                return network.version == self._address.version and self._address in network
            case "ptr":
                raise _Undecided("it depends on ptr, which is not followed here (RFC 7208 5.5)")
        self._count(term)
        match term.name:
            case "include":
                return await self._included(term)
            case "exists":
                return bool(await self._ask(_plain(term), "A"))
            case "a":
                return await self._has_address(_plain(term) or domain, term)
            case "mx":
                hosts = await self._ask(_plain(term) or domain, "MX")
                if len(hosts) > _MAX_MX:
                    raise _Permerror(f"{term.text!r} has more than {_MAX_MX} hosts")
                for host in hosts:
                    if await self._has_address(host, term):
                        return True
        return False

    async def _included(self, term: Term) -> bool:
        answer = await self.of(_plain(term))
        if answer.verdict is SpfVerdict.NONE:
            raise _Permerror(f"{term.text!r} leads to a domain without an SPF record")
        return answer.verdict is SpfVerdict.PASS

    async def _has_address(self, host: str, term: Term) -> bool:
        version = self._address.version
        lengths = _LENGTHS.search(term.text)
        length = (lengths["four"] if version == 4 else lengths["six"]) if lengths else None
        for found in await self._ask(host, "A" if version == 4 else "AAAA"):
            if self._address in ip_network(f"{found}/{length or (32 if version == 4 else 128)}", strict=False):
                return True
        return False

    def _count(self, term: Term) -> None:
        self._left -= 1
        if self._left < 0:
            raise _Permerror(f"it asks for more than {MAX_LOOKUPS} look-ups (RFC 7208 4.6.4), at {term.text!r}")


def _plain(term: Term) -> str:
    if "%" in term.domain:
        raise _Undecided(f"it depends on {term.text!r}, whose macros are not followed here")
    return term.domain

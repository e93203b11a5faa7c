"""Read a DMARC record as receivers do (RFC 7489 6.3, 6.4), and judge whether our mail is aligned with it.

Invariants: a tag that receivers pass over is told, because its author believes that it counts.

Limitations: whether a domain elsewhere accepts reports (RFC 7489 7.1) is for the caller to look up.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from urllib.parse import unquote, urlsplit

from policy.accounts.dns_text import near_miss, odd_character
from policy.organisation import organisation

VERSION = "v=DMARC1"
POLICIES = ("none", "quarantine", "reject")

_TAGS = ("v", "p", "sp", "np", "adkim", "aspf", "rua", "ruf", "fo", "pct", "rf", "ri", "t", "psd")  # RFC 7489, 9091
_SHAPES = {  # the rest of RFC 7489 6.4: shape, and what to write
    "adkim": (re.compile(r"[rs]", re.IGNORECASE), "r or s"),
    "aspf": (re.compile(r"[rs]", re.IGNORECASE), "r or s"),
    "pct": (re.compile(r"\d|[1-9]\d|100|0\d{1,2}"), "a number from 0 to 100, without a percent sign"),
    "ri": (re.compile(r"\d{1,10}"), "a number of seconds"),
    "fo": (re.compile(r"[01ds](\s*:\s*[01ds])*", re.IGNORECASE), "0, 1, d or s, with colons between several"),
    "rf": (re.compile(r"afrf(\s*:\s*afrf)*", re.IGNORECASE), "afrf"),
    "t": (re.compile(r"[yn]", re.IGNORECASE), "y or n"),
    "psd": (re.compile(r"[ynu]", re.IGNORECASE), "y, n or u"),
}
_LOCAL = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*")
_DOMAIN = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)+", re.IGNORECASE)
_SIZE = re.compile(r"!\d+[kmgt]?\Z", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Dmarc:
    """One record, read. ``errors``: it does not count; ``doubts``: a part of it does not.

    ``policy``: that of the domain itself; ``subdomain_policy``: that of domains below. ``strict_dkim``,
    ``strict_spf``: the domains must be the same, not only of the same organisation. ``reports_to``: the domains of
    its report addresses.
    """

    policy: str = "none"
    subdomain_policy: str = "none"
    strict_dkim: bool = False
    strict_spf: bool = False
    reports_to: tuple[str, ...] = ()
    errors: list[str] = field(default_factory=list)
    doubts: list[str] = field(default_factory=list)


def is_record(text: str) -> bool:
    """Tell whether receivers take a TXT record for a DMARC record (RFC 7489 6.6.3)."""
    return re.match(r"v[ \t]*=[ \t]*DMARC1[ \t]*(;|\Z)", text) is not None


def missed(texts: Sequence[str]) -> str | None:
    """Return why a text that was meant to be a DMARC record is none, None if there is no such text."""
    return near_miss([text for text in texts if not is_record(text)], VERSION, "a semicolon")


def read(text: str) -> Dmarc:
    """Read the record ``text``."""
    if odd := odd_character(text.replace("\t", " ")):
        return Dmarc(errors=[f"it has {odd}; write it anew"])
    if "\\" in text or '"' in text:
        return Dmarc(errors=["quotation marks or backslashes stand in it, to which they do not belong"])
    errors: list[str] = []
    doubts: list[str] = []
    tags = _tags(text, errors, doubts)
    errors += _policies(tags)
    reports: list[str] = []
    for name, value in tags.items():
        doubts += _doubts(name, value, reports)
    policy = tags.get("p", "none").lower()
    return Dmarc(
        policy,
        tags.get("sp", policy).lower(),
        tags.get("adkim", "r").lower() == "s",
        tags.get("aspf", "r").lower() == "s",
        tuple(dict.fromkeys(reports)),
        errors,
        doubts,
    )


def misaligned(record: Dmarc, domain: str, signers: Sequence[str], return_path: str | None) -> str | None:
    """Return why neither our signatures nor our return path count for mail from ``domain``; None if one does.

    ``signers``: the domains that we sign with (``d=``). ``return_path``: the domain of our envelope senders, None if
    they are the sender's own. RFC 7489 3.1: strict alignment wants the same domain, relaxed the same organisation.
    """
    if not signers or any(_aligned(domain, each, strict=record.strict_dkim) for each in signers):
        return None  # without a key there is nothing to judge: that is told elsewhere
    why = f"adkim={'s' if record.strict_dkim else 'r'} wants signatures with d={domain}, ours have d={signers[0]}"
    cure = f"make a key with `mta dkim new {domain}`" + (", or publish adkim=r" if record.strict_dkim else "")
    if return_path and not _aligned(domain, return_path, strict=record.strict_spf):
        return f"{why}; SPF cannot help, the return path is {return_path}; {cure}"
    return f"{why}, so that only SPF counts, which is lost when mail is forwarded; {cure}"


def is_outside(host: str, place: str) -> bool:
    """Whether reports to ``host`` need its consent: another organisation than that of the record (RFC 7489 7.1)."""
    return _organisation(host) != _organisation(place.removeprefix("_dmarc."))


def _aligned(domain: str, other: str, *, strict: bool) -> bool:
    return domain == other or (not strict and _organisation(domain) == _organisation(other))


def _organisation(domain: str) -> str:
    return organisation(domain) or ".".join(domain.split(".")[-2:])  # its public suffix is unknown


def _tags(text: str, errors: list[str], doubts: list[str]) -> dict[str, str]:
    """Return the tags by name, in their order."""
    tags: dict[str, str] = {}
    parts = [part.strip(" \t") for part in text.split(";")]
    if "" in parts[:-1]:
        doubts.append("two semicolons follow each other; leave one")
    for part in filter(None, parts):
        name, equals, value = (piece.strip(" \t") for piece in part.partition("="))
        if not equals:
            hint = "; several addresses are separated by commas" if part.lower().startswith("mailto:") else ""
            doubts.append(f"{part[:60]!r} is passed over: it is not of the form tag=value{hint}")
        elif name.lower() in tags:
            errors.append(f"the tag {name}= is there twice; keep one")
        else:
            tags[name.lower()] = value
            doubts += _name_doubts(name)
    if "p" in tags and list(tags)[1] != "p":
        doubts.append("p= must follow v=DMARC1 at once; some receivers pass over the record otherwise")
    return tags


def _name_doubts(name: str) -> Iterator[str]:
    if name.lower() not in _TAGS:
        close = [tag for tag in _TAGS if sorted(tag) == sorted(name.lower())]
        close += get_close_matches(name.lower(), _TAGS[1:], 1, 0.6)
        yield f"the tag {name[:20]}= is unknown and passed over" + (f"; is {close[0]}= meant?" if close else "")


def _policies(tags: dict[str, str]) -> Iterator[str]:
    """Yield what is wrong with p= and sp=, without which a record says nothing (RFC 7489 6.6.3)."""
    expected = "p=none, p=quarantine or p=reject"
    if "p" not in tags:
        yield f"it says nothing like {expected}; add that"
    for name in ("p", "sp", "np"):
        value = tags.get(name, "none")
        if value.lower() in POLICIES:
            continue
        inside = re.search(r"[\s,:]+([a-z]+)\s*=", value, re.IGNORECASE)
        if inside:
            yield f"{name}={value[:60]!r}: a semicolon is missing before {inside[1]}="
        else:
            yield f"{name}={value[:40]} says nothing like {expected.replace('p=', f'{name}=')}; correct it"


def _doubts(name: str, value: str, reports: list[str]) -> Iterator[str]:
    if name in ("rua", "ruf"):
        for uri in value.split(","):
            yield from _destination(name, uri.strip(" \t"), reports)
        return
    shape, expected = _SHAPES.get(name, (None, ""))
    if shape and not shape.fullmatch(value):
        missing = re.search(r"\s([a-z]+)\s*=", value, re.IGNORECASE)
        cause = f"a semicolon is missing before {missing[1]}=" if missing else f"expected {expected}"
        yield f"{name}={value[:40]} is passed over: {cause}"


def _destination(name: str, uri: str, reports: list[str]) -> Iterator[str]:
    """Yield why reports to ``uri`` go nowhere; add its domain to ``reports``."""
    lost = f"{name}={uri[:80]}: reports go nowhere"
    if not uri:
        yield f"{name}=: an address is missing; reports go nowhere"
        return
    plain = _SIZE.sub("", uri)
    scheme, colon, rest = plain.partition(":")
    if not colon or "@" in scheme:
        yield f"{lost}, because it is no URI; write mailto:{plain[:80]}"
    elif re.search(r"\s", plain):
        yield f"{lost}, because a space stands in it; several addresses are separated by commas"
    elif scheme.lower() in ("http", "https") and urlsplit(plain).hostname:
        yield f"{name}={uri[:80]}: receivers send reports by mail only; write mailto:"
    elif scheme.lower() != "mailto":
        yield f"{lost}, because {scheme[:20]}: is not mailto:"
    elif "!" in plain:
        yield f"{lost}, because of the exclamation mark; a limit is a number with k, m, g or t: !10m"
    elif rest.startswith("//"):
        yield f"{lost}; write mailto:{rest.lstrip('/')[:80]}, without slashes"
    else:
        local, at, host = unquote(rest.partition("?")[0]).rpartition("@")
        if at and _LOCAL.fullmatch(local) and _DOMAIN.fullmatch(host):
            reports.append(host.lower())
        else:
            yield f"{lost}, because {rest[:60]!r} is no e-mail address"

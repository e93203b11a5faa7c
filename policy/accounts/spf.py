"""Read an SPF record as strictly as a receiver does (RFC 7208), and say what is wrong with it.

``Spf.errors`` are what makes receivers give up (permerror), or keeps what was meant from counting; ``Spf.doubts`` is
what works, but should be fixed.

Limitations: nothing is looked up. Look-ups that included records cost are counted by ``count_lookups`` once the caller
has fetched these.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from ipaddress import AddressValueError, IPv4Address, IPv6Address

from policy.accounts.dns_text import near_miss, odd_character
from policy.organisation import is_known_suffix

MAX_LOOKUPS = 10  # RFC 7208 4.6.4
VERSION = "v=spf1"

_MECHANISMS = ("all", "include", "a", "mx", "ptr", "ip4", "ip6", "exists")
_MODIFIERS = ("redirect", "exp")
_HARMLESS = ("ra", "rp", "rr")  # RFC 6652 3
_COSTS = ("include", "a", "mx", "ptr", "exists", "redirect")
_MEANT = re.compile(r"v=s(?!pf1|pf2\.0/)\S* .*(all|include)", re.IGNORECASE)
_TERM = re.compile(r"(?P<qualifier>[+\-?~]?)(?P<name>[a-z][a-z0-9]*)(?P<rest>[:/].*)?", re.IGNORECASE)
_MODIFIER = re.compile(r"(?P<name>[a-z][a-z0-9_.-]*)=(?P<value>.*)", re.IGNORECASE)
_CIDR = re.compile(r"(?:/(?P<four>[^/]*))?(?://(?P<six>[^/]*))?")
_MACRO = re.compile(r"%(?:[%_-]|\{(?P<letter>[slodiphcrtv])(?P<digits>[0-9]*)r?[-.+,/_=]*\})", re.IGNORECASE)
_LENGTH = re.compile(r"0|[1-9][0-9]{0,2}")
_TOP_LABEL = re.compile(r"[a-z0-9]*[a-z][a-z0-9]*|[a-z0-9]+-[a-z0-9-]*[a-z0-9]", re.IGNORECASE)
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?", re.IGNORECASE)
_RUN_ON = re.compile(r"[+\-?~]?(?:all|mx|a|ptr|include|exists|ip4|ip6|redirect|exp)\Z", re.IGNORECASE)
_JOINED = re.compile(
    r"[+\-?~]?(?:all|mx|a|ptr)([+\-?~]?(?:all|mx|a|ptr|(?:include|exists|ip4|ip6|exp|redirect)\b.*))", re.I
)
_SPEC_AND_LENGTHS = re.compile(r"((?:%\{[^}]*\}|[^/])*)(.*)")
_FEW_BITS = 8  # a shorter prefix holds more addresses than anybody sends from


class TermError(ValueError):
    """What is wrong with a term, as the rest of a sentence that begins with it."""


class UnknownTerm(TermError):
    """What is meant perhaps, as the rest of a sentence about a term that nobody knows."""


@dataclass(frozen=True, slots=True)
class Term:
    """A directive or modifier. ``domain``: its domain-spec in lower case, without the last dot; empty without one."""

    text: str
    name: str
    qualifier: str = "+"
    domain: str = ""

    @property
    def follows(self) -> str | None:
        """The name whose record is read for it, None if there is none or it depends on the message (a macro)."""
        return self.domain if self.name in ("include", "redirect") and "%" not in self.domain else None


@dataclass(frozen=True, slots=True)
class Spf:
    """One record, read."""

    terms: tuple[Term, ...] = ()
    errors: list[str] = field(default_factory=list)
    doubts: list[str] = field(default_factory=list)

    @property
    def lookups(self) -> int:
        """How many look-ups its own terms cost."""
        return sum(term.name in _COSTS for term in self.counted)

    @property
    def counted(self) -> tuple[Term, ...]:
        """The terms that a receiver may come to: up to ``all``, which also makes it pass over ``redirect``."""
        names = [term.name for term in self.terms]
        if "all" not in names:
            return self.terms
        return tuple(term for term in self.terms[: names.index("all") + 1] if term.name != "redirect")


def is_record(text: str) -> bool:
    """Tell whether receivers take a TXT record for an SPF record (RFC 7208 4.5)."""
    return text.lower() == VERSION or text.lower().startswith(f"{VERSION} ")


def missed(texts: Sequence[str]) -> str | None:
    """Return why a text that was meant to be an SPF record is none, None if there is no such text."""
    others = [text for text in texts if not is_record(text)]
    if why := near_miss(others, VERSION, "a space"):
        return why
    meant = next((text for text in others if _MEANT.match(text)), None)
    return f"it must begin with exactly {VERSION}, not {meant.split(' ')[0][:20]!r}" if meant else None


def read(text: str, owner: str) -> Spf:
    """Read the record ``text`` of the domain ``owner``."""
    errors: list[str] = []
    terms: list[Term] = []
    if odd := odd_character(text):
        return Spf(errors=[f"it has {odd}; write it anew, with plain spaces"])
    for word in filter(None, text.split(" ")[1:]):
        try:
            terms.append(_term(word))
        except UnknownTerm as error:
            errors.append(f"unknown term {word[:80]!r}{error}")
        except TermError as error:
            errors.append(f"{word[:80]!r} {error}")
    found = Spf(tuple(terms))
    errors += _together(found, owner.lower())
    return Spf(tuple(terms), errors, list(_doubts(found)))


def count_lookups(record: Spf, others: Mapping[str, Spf], _seen: frozenset[str] = frozenset()) -> int:
    """Return how many look-ups a check can cost, with the records in ``others`` that it includes, by name."""
    count = record.lookups
    for term in record.counted:
        name = term.follows
        if name and name in others and name not in _seen:
            count += count_lookups(others[name], others, _seen | {name})
    return count


# --- one term


def _term(word: str) -> Term:
    """Return a term. Raises TermError."""
    if modifier := _MODIFIER.fullmatch(word):
        return _modifier(word, modifier["name"].lower(), modifier["value"])
    match = _TERM.fullmatch(word)
    if match is None or match["name"].lower() not in _MECHANISMS:
        raise UnknownTerm(_hint(word, match["name"].lower() if match else ""))
    name, rest, qualifier = match["name"].lower(), match["rest"] or "", match["qualifier"] or "+"
    return Term(word, name, qualifier, _ARGUMENTS[name](name, rest))


def _modifier(word: str, name: str, value: str) -> Term:
    if name in _MODIFIERS:
        return Term(word, name, domain=_domain(value))
    if name in _MECHANISMS or name.lstrip("+-~?") in _MECHANISMS:
        raise TermError(f"is passed over as an unknown modifier: write {name}:{value[:60]} (RFC 7208 4.6.1)")
    if close := get_close_matches(name, (*_MODIFIERS, *_MECHANISMS), 1, 0.75):
        raise TermError(f"is passed over as an unknown modifier; is {close[0]} meant?")
    _macros(value)
    return Term(word, "" if name in _HARMLESS else "unknown", domain=name)


def _hint(word: str, name: str) -> str:
    """Return what to write instead, as far as it can be guessed."""
    if "=" in word and word[:1] in "+-~?":
        return f": a modifier has no qualifier, and a mechanism a colon; write {word.replace('=', ':', 1)}"
    if name in _MODIFIERS:
        return f"; write {name}= with an equals sign"
    if joined := _JOINED.fullmatch(word):
        return f"; a space is missing before {joined[1]} (strings of a record are joined without one)"
    if (bare := word.strip("+-~?;,.")) in _MECHANISMS:
        return f"; write {bare} without the other characters"
    meant = {"ipv4": "ip4", "ipv6": "ip6", "ip": "ip4", "includes": "include"}.get(name)
    if re.fullmatch(r"[+\-?~]?[0-9.]+(/[0-9]+)?", word):
        meant = "ip4"
    meant = meant or next(iter(get_close_matches(name, _MECHANISMS, 1, 0.7)), None)
    return f"; is {meant} meant?" if meant else " (RFC 7208 4.6.1)"


def _nothing(name: str, rest: str) -> str:
    if rest:
        raise TermError(f"is malformed: {name} stands alone")
    return ""


def _required(name: str, rest: str) -> str:
    if not rest.startswith(":") or rest == ":":
        raise TermError(f"is malformed: {name} needs a domain, {name}:example.com")
    return _domain(rest[1:])


def _optional(name: str, rest: str) -> str:
    return _required(name, rest) if rest else ""


def _host(name: str, rest: str) -> str:
    """Read ``[":" domain-spec] [dual-cidr-length]``."""
    spec, lengths = _SPEC_AND_LENGTHS.fullmatch(rest).groups()  # type: ignore[union-attr]
    match = _CIDR.fullmatch(lengths)
    if match is None:
        raise TermError(f"is malformed: {lengths} is no prefix length; write {name}/24, {name}//64 or {name}/24//64")
    for given, most in ((match["four"], 32), (match["six"], 128)):
        _length(given, most)
    return _optional(name, spec)


def _length(given: str | None, most: int) -> None:
    if given is not None and not (_LENGTH.fullmatch(given) and int(given) <= most):
        raise TermError(f"is malformed: /{given} is no prefix length from 0 to {most}")


def _network(name: str, rest: str) -> str:
    version, most = (IPv4Address, 32) if name == "ip4" else (IPv6Address, 128)
    if not rest.startswith(":") or rest == ":":
        raise TermError(f"is malformed: {name} needs an address, {name}:{'192.0.2.1' if most == 32 else '2001:db8::1'}")
    address, slash, length = rest[1:].partition("/")
    _length(length if slash else None, most)
    try:
        version(address)
    except AddressValueError:
        raise TermError(_no_address(name, address)) from None
    if "%" in address:
        raise TermError(f"is malformed: {address!r} has a zone, which no other machine knows")
    return rest[1:].lower()


def _no_address(name: str, address: str) -> str:
    other, version = ("ip6", IPv6Address) if name == "ip4" else ("ip4", IPv4Address)
    try:
        version(address)
    except AddressValueError:
        pass
    else:
        return f"is malformed: {address} belongs behind {other}:"
    kind = "IPv4" if name == "ip4" else "IPv6"
    if re.search(r"(all|include|mx|ip[46]|redirect|exists|ptr)\b", address, re.IGNORECASE):
        return f"is malformed: {address!r} is no {kind} address; a space is missing"
    return f"is malformed: {address!r} is no {kind} address"


def _domain(spec: str) -> str:
    """Check a domain-spec (RFC 7208 7.1) and return it in lower case, without the dot at its end. Raises TermError."""
    plain = _macros(spec)
    if not spec:
        raise TermError("is malformed: a domain is missing")
    if plain.endswith("\0"):  # domain-end = macro-expand
        labels, top = plain.split("."), ""
    else:
        labels = plain.removesuffix(".").split(".")
        top = labels[-1]
    if odd := re.search(r"[^a-z0-9_.\0-]", plain, re.IGNORECASE):
        joined = _RUN_ON.search(plain[: odd.start()]) or re.match(r"[~?+]all", plain[odd.start() :], re.IGNORECASE)
        cause = "a space is missing" if joined else "no host name has that"
        raise TermError(f"is malformed: {odd[0]!r} in {spec[:60]!r}: {cause}")
    for label in labels:
        if "\0" not in label and not _LABEL.fullmatch(label):
            shown = f"{label!r} is no part of a domain" if label else "two dots, or a dot in front"
            raise TermError(f"is malformed: {spec[:60]!r}: {shown}")
    if top:
        _top(spec, labels, top)
    return spec.removesuffix(".").lower()


def _top(spec: str, labels: Sequence[str], top: str) -> None:
    """Check the last label: it must be one that can be a top-level domain. Raises TermError."""
    if len(labels) == 1:
        raise TermError(f"is malformed: {spec[:60]!r} is no fully qualified domain")
    if all(label.isdigit() for label in labels):
        raise TermError("is malformed: a domain is wanted, not an address; addresses stand behind ip4: and ip6:")
    if not _TOP_LABEL.fullmatch(top):
        raise TermError(f"is malformed: .{top} is no top-level domain")
    if is_known_suffix(top) or top.lower().startswith("xn--"):
        return
    for cut in range(2, len(top)):
        if top[cut:].lower() == "-all" or (is_known_suffix(top[:cut]) and _RUN_ON.fullmatch(top[cut:])):
            joined = f"a space is missing before {top[cut:]}"
            raise TermError(f"ends with {top!r}: {joined} (strings of a record are joined without one)")


def _macros(text: str) -> str:
    """Return ``text`` with a NUL for each macro. Raises TermError."""

    def expand(match: re.Match[str]) -> str:
        if match["letter"] and match["letter"].lower() in "crt":
            raise TermError(f"is malformed: {match[0]} may stand in an explanation only (RFC 7208 7.2)")
        if match["digits"] and not int(match["digits"]):
            raise TermError(f"is malformed: {match[0]} keeps no part of the name (RFC 7208 7.3)")
        return "\0"

    plain = _MACRO.sub(expand, text)
    if "%" in plain:
        at = plain.index("%")
        raise TermError(
            f"is malformed: {plain[at : at + 10]!r} is no macro (RFC 7208 7.1); write %% for a percent sign"
        )
    return plain


_ARGUMENTS: dict[str, Callable[[str, str], str]] = {
    "all": _nothing,
    "include": _required,
    "exists": _required,
    "a": _host,
    "mx": _host,
    "ptr": _optional,
    "ip4": _network,
    "ip6": _network,
}

# --- all terms together


def _together(record: Spf, owner: str) -> Iterator[str]:
    """Yield what is wrong with the terms as a whole."""
    names = [term.name for term in record.terms]
    for name in _MODIFIERS:
        if names.count(name) > 1:
            yield f"{name}= is there {names.count(name)} times; keep one (RFC 7208 6)"
    if "all" in names:
        ending = record.terms[names.index("all")]
        if behind := [term.text for term in record.terms[names.index("all") + 1 :] if term.name in _MECHANISMS]:
            yield f"what stands behind {ending.text} is never tested: {' '.join(behind)[:80]}; move it to the front"
    for term in record.counted:
        if term.qualifier == "+" and term.name == "all":
            yield f"it lets everybody pass ({term.text}); end it with -all or ~all"
        elif term.qualifier == "+" and _prefix(term) == 0:
            yield f"{term.text!r} lets everybody pass"
        elif term.follows == owner:
            yield f"{term.text!r} leads back to this record; take it out"
    if record.lookups > MAX_LOOKUPS:
        yield f"it asks for {record.lookups} look-ups, more than {MAX_LOOKUPS}; shorten it (RFC 7208 4.6.4)"


def _prefix(term: Term) -> int | None:
    """Return the shortest prefix length that the term gives."""
    lengths = re.findall(r"/(\d+)", term.text) if term.name in ("ip4", "ip6", "a", "mx") else ()
    return min(map(int, lengths), default=None)


def _doubts(record: Spf) -> Iterator[str]:
    """Yield what receivers accept and should be fixed all the same."""
    names = [term.name for term in record.terms]
    ending = next((term for term in record.terms if term.name == "all"), None)
    if ending is None and "redirect" not in names:
        yield "nothing is said of others; end it with -all or ~all"
    elif ending and ending.qualifier == "?":
        yield "?all: nothing is said of others; end it with -all or ~all"
    if ending and "redirect" in names:
        yield "redirect= is passed over because of all (RFC 7208 6.1); keep one of them"
    if against := [term.text for term in record.terms if term.name == "include" and term.qualifier == "-"]:
        yield f"{against[0][:60]!r} rejects what it includes; write it without the minus sign to let that pass"
    if "ptr" in names:
        yield "ptr is slow and not to be used any more (RFC 7208 5.5); name addresses instead"
    for term in record.terms:
        if term.qualifier == "+" and 0 < (_prefix(term) or 0) < _FEW_BITS:
            yield f"{term.text!r} lets many millions of others pass; name the networks that send"
        if term.name == "unknown":
            yield f"{term.text[:60]!r} means nothing to receivers; take it out"
        elif term.domain and "%" not in term.domain and term.name in ("include", "redirect", "a", "mx", "exists"):
            top = term.domain.rpartition(".")[2]
            if not (is_known_suffix(top) or top.startswith("xn--")):
                yield f"{term.text[:60]!r}: there is no top-level domain .{top}"

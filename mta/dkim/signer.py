"""Signs a message with every active key of its From domain (RFC 6376, RFC 8463).

Per message the fields to sign are collected in one pass, made canonical and hashed once, and the body is hashed once,
or not at all if it came before; each key then costs its private operation and some 10 us. The DKIM-Signature field is
folded once for each key and list of signed names, and remembered with gaps for what differs between messages. Both
canonical forms are relaxed, because gateways reflow white space.

Invariants: there is no ``l=`` (text could be added to a signed body), and no signature by a domain that ``KeyRing.of``
does not name.
Limitations: it runs in the caller's thread, 3 to 6 us for each kB; a large body is hashed before, by ``BodyHash``.
There is no ``x=``: a signature does not expire.
"""

from __future__ import annotations

import base64
import hashlib
import time
from collections.abc import Callable
from functools import lru_cache

from config.hosts import dkim_record_name
from config.schema import SigningSettings
from mta.dkim.canonical import body_hash, header_field
from mta.dkim.keyring import KeyRing
from mta.dkim.keys import SigningKey
from mta.mail.headers import Headers
from mta.mail.known_bodies import KnownBodies

NAME = b"DKIM-Signature"
LINE = 71  # octets of a folded line beside its leading space: no re-folder will touch it
BODIES = 1024 * 1024  # octets of bodies whose hash is remembered
_HOLE = b"\x00"
_REMEMBERED = 4096  # folded fields, about 1 kB each


class Signer:
    """``clock``: seconds since 1970, for ``t=``."""

    def __init__(self, settings: SigningSettings, keys: KeyRing, clock: Callable[[], float] = time.time) -> None:
        self._keys = keys
        self._clock = clock
        self._body_tags: KnownBodies[bytes] = KnownBodies(BODIES)
        self.configure(settings)

    def configure(self, settings: SigningSettings) -> None:
        """Take over which fields are signed, in which order. The key ring has its own settings."""
        self._oversigned = list(dict.fromkeys(name.lower().encode() for name in settings.oversign))
        signed = dict.fromkeys([name.lower().encode() for name in settings.headers] + self._oversigned)
        self._place = {name: n for n, name in enumerate(signed)}

    def sign(self, headers: Headers, body: bytes, domain: str, *others: str, tag: bytes | None = None) -> bytes:
        """Return DKIM-Signature fields, each with its CRLF, to be put on top; b"" if ``domain`` has no key.

        ``domain``: that of From, in lower-case A-labels. ``others``: domains that sign in addition, if they have a key.
        ``tag``: the ``bh=`` tag of a body that is not here.
        """
        keys = list(self._keys.of(domain))
        if not keys:
            return b""
        for other in others:
            keys += [key for key in self._keys.of(other) if key not in keys]
        names, fields = self._select(headers)
        names_tag, stamp = b" : ".join(names), b"%d" % self._clock()
        tag = self._body_tag(body) if tag is None else tag
        signed = hashlib.sha256(fields)
        return b"".join([_signature(key, names_tag, stamp, tag, signed.copy()) for key in keys])

    def records(self, domain: str) -> list[str]:
        """Return the DNS names of the keys that mail from ``domain`` is signed with now."""
        return [dkim_record_name(key.selector, key.domain) for key in self._keys.of(domain)]

    def _body_tag(self, body: bytes) -> bytes:
        tag = self._body_tags.find(body)
        if tag is None:
            tag = body_hash(body)
            self._body_tags.keep(tag, body)
        return tag

    def _select(self, headers: Headers) -> tuple[list[bytes], bytes]:
        """Return the names for ``h=`` and the fields they stand for, canonical.

        Of several fields with one name the last counts first (RFC 6376 5.4.2). Oversigned names come once more at the
        end, as in the example of RFC 8463.
        """
        place = self._place
        chosen = [(place[name], -n, name, raw) for n, (name, raw) in enumerate(headers.fields) if name in place]
        chosen.sort()
        names = [name for _, _, name, _ in chosen]
        return names + self._oversigned, b"".join([header_field(name, raw) for _, _, name, raw in chosen])


def _signature(key: SigningKey, names: bytes, stamp: bytes, body: bytes, signed: hashlib._Hash) -> bytes:
    """Return one DKIM-Signature field with its CRLF. ``signed``: the hash of the canonical header fields."""
    start, middle, end = _outline(key.algorithm.value, key.domain, key.selector, names, len(stamp))
    unsigned = b"".join((start, stamp, middle, body, end))
    signed.update(b"dkim-signature:" + unsigned.replace(b"\r\n", b""))
    signature = base64.b64encode(key.sign(signed.digest()))
    lines = [signature[: LINE - 2]]  # the first one shares its line with "b="
    lines += [signature[at : at + LINE] for at in range(LINE - 2, len(signature), LINE)]
    return b"%b: %b%b\r\n" % (NAME, unsigned, b"\r\n ".join(lines))


@lru_cache(_REMEMBERED)
def _outline(algorithm: str, domain: str, selector: str, names: bytes, digits: int) -> tuple[bytes, bytes, bytes]:
    """Return the folded value of the field with ``b=`` empty, in three pieces: the time goes between the first two, the
    body hash between the last two. Lines break as in dkimpy.
    """
    d, s = domain.encode(), selector.encode()
    tags = (
        b"v=1",
        b"a=" + algorithm.encode(),
        b"c=relaxed/relaxed",
        b"d=" + d,
        b"i=@" + d,
        b"q=dns/txt",
        b"s=" + s,
        b"t=" + _HOLE * digits,
        b"h=" + names,
        b"bh=" + _HOLE * 44,
        b"b=" + _HOLE * LINE,  # does not fit behind bh=, so b= begins a line of its own, as it will with a signature
    )
    folded = _fold(b"; ".join(tags), first=LINE + 1 - len(NAME))
    start, middle, end = (piece for piece in folded.split(_HOLE) if piece)
    return start, middle, end


def _fold(value: bytes, first: int) -> bytes:
    """Break ``value`` at spaces into lines of at most LINE octets, the first of ``first``; longer words stay whole."""
    lines, room = [], first
    while len(value) > room:
        at = value.rfind(b" ", 0, room)
        if at < 0:
            at = value.find(b" ")
        if at < 0:
            break
        lines.append(value[:at])
        value, room = value[at + 1 :], LINE
    return b"\r\n ".join([*lines, value])

"""One strict parser for mail addresses.

Authentication, alignment, routing, suppression and every CLI use this module only, so that two parts of the service
never disagree about which mailbox is meant. What it cannot parse is rejected.

Invariants: nothing is guessed: no source routes, no comments, no display names, no address literals, no domain without
a dot (unless asked for), no repair of broken input, and no character that cannot be seen. Letters are composed (NFC,
RFC 6532 3.1), and all spellings of one mailbox have one key.
Limitations: local parts keep their case (RFC 5321 2.4); ``Address.key`` folds it, because no large receiver tells
``Ann@`` from ``ann@`` and a suppression must hold for both.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

import idna

from mta.mail.characters import hidden, named
from mta.mail.values import dataclass

MAX_LOCAL = 64  # octets, RFC 5321 4.5.3.1.1
MAX_DOMAIN = 255  # octets, RFC 5321 4.5.3.1.2
MAX_ADDRESS = 254  # octets: a path of 256 with its brackets, RFC 5321 4.5.3.1.3

_ATEXT = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~\-\u0080-\U0010ffff]+"
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9\-]{0,61}[A-Za-z0-9])?"
_DOT_ATOM = re.compile(rf"{_ATEXT}(?:\.{_ATEXT})*\Z")
_QUOTED = re.compile(r'"((?:[\x20\x21\x23-\x5b\x5d-\x7e\u0080-\U0010ffff]|\\[\x20-\x7e])*)"\Z')
_DOMAIN = re.compile(rf"{_LABEL}(?:\.{_LABEL})*\Z")
_UNSAFE = re.compile(r"[ <>]")  # parsers of SMTP paths differ about them, quoted or not
_ESCAPE = re.compile(r"\\(.)")
_SUBSCRIPT = "\u0345"  # folds to a letter, so that marks behind it would move: its composed letters are unambiguous


class AddressError(ValueError):
    """Why a text is not a mailbox; the text may be shown to the client."""


@dataclass(frozen=True, slots=True)
class Address:
    """A mailbox. ``local``: as sent in SMTP (quoted only if necessary). ``domain``: lower-case A-labels."""

    local: str
    domain: str

    def __str__(self) -> str:
        return f"{self.local}@{self.domain}"

    @property
    def is_ascii(self) -> bool:
        """False if it needs SMTPUTF8 (RFC 6531). The domain is always sent as A-labels."""
        return self.local.isascii()

    @property
    def key(self) -> str:
        """The canonical spelling: equal for all spellings of the same mailbox at any large receiver."""
        if self.local.isascii():
            return f"{self.local.lower()}@{self.domain}"
        # Folding decomposes some letters that NFC had composed: compose them again.
        return f"{unicodedata.normalize('NFC', self.local.casefold())}@{self.domain}"

    @classmethod
    def parse(cls, text: str) -> Address:
        """Read ``local@domain`` (RFC 5321 4.1.2 Mailbox, RFC 6531 3.3). Raises AddressError."""
        if unseen := hidden(text):
            raise AddressError(f"{unseen} is not allowed; take it out")
        at = text.rfind("@")
        if at < 0:
            raise AddressError("an address needs an @ and a domain")
        local, domain = _parse_local(text[:at]), parse_domain(text[at + 1 :])
        if len(local.encode()) + 1 + len(domain) > MAX_ADDRESS:
            raise AddressError(f"an address has at most {MAX_ADDRESS} octets")
        return cls(local, domain)


def _parse_local(text: str) -> str:
    if not text.isascii():
        text = _composed(text)
    if _DOT_ATOM.match(text):
        local = text
    elif quoted := _QUOTED.match(text):
        bare = _ESCAPE.sub(r"\1", quoted[1])
        if not bare or _UNSAFE.search(bare):
            raise AddressError("nothing, a blank, < or > before the @ is not accepted, not even in quotes")
        # "ann"@example.com and ann@example.com are one mailbox (RFC 5321 4.1.2): keep one spelling.
        local = bare if _DOT_ATOM.match(bare) else '"' + re.sub(r'(["\\])', r"\\\1", bare) + '"'
    else:
        raise AddressError("the part before the @ has a character that is not allowed")
    if len(local) > MAX_LOCAL or len(local.encode()) > MAX_LOCAL:
        raise AddressError(f"the part before the @ has at most {MAX_LOCAL} octets")
    return local


def _composed(text: str) -> str:
    """Return ``text`` in NFC. Raises AddressError where that and upper case would not agree on one mailbox."""
    composed = unicodedata.normalize("NFC", text)
    if _SUBSCRIPT in composed or (composed != text and _SUBSCRIPT in unicodedata.normalize("NFD", text)):
        raise AddressError(f"{named(_SUBSCRIPT)} is not allowed by itself; write its letter composed (Unicode NFC)")
    return composed


@lru_cache(16384)
def parse_domain(text: str, *, dot_required: bool = True) -> str:
    """Return a host name in lower-case A-labels (IDNA 2008, UTS 46 non-transitional). Raises AddressError."""
    if unseen := hidden(text):
        raise AddressError(f"{unseen} is not allowed; take it out")
    if not text.isascii():
        try:
            text = idna.encode(text, uts46=True).decode()
        except (idna.IDNAError, UnicodeError) as error:
            raise AddressError(f"not a valid internationalised domain: {error}") from None
    if len(text) > MAX_DOMAIN or not _DOMAIN.match(text):
        raise AddressError("not a valid domain name")
    if dot_required and "." not in text:
        raise AddressError("a domain needs at least two labels")
    if text[text.rfind(".") + 1 :].isdigit():
        raise AddressError("an IP address is not accepted in place of a domain")
    text = text.lower()
    if "xn--" in text:
        for label in text.split("."):
            _check_a_label(label)
    return text


def _check_a_label(label: str) -> None:
    """Raise AddressError for an A-label that is another spelling of a name: readers are shown what it decodes to."""
    if not label.startswith("xn--"):
        return
    try:
        letters = label[4:].encode().decode("punycode")
        plain = idna.encode(letters).decode() == label
    except idna.IDNAError:  # a name older than IDNA 2008, with a heart in it
        plain = not (
            letters.isascii()
            or hidden(letters.replace("\ufe0f", ""))
            or unicodedata.normalize("NFKC", letters).casefold() != letters
            or letters.encode("punycode").decode() != label[4:]
        )
    except (UnicodeError, ValueError):
        plain = False
    if not plain:
        raise AddressError(f"the label {label[:70]} is not the encoding of a name (RFC 5891 4.2)")

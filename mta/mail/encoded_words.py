"""Write header text beyond ASCII as every receiver takes it: encoded words (RFC 2047), parameters of RFC 2231.

A field of plain UTF-8 needs receivers with SMTPUTF8, which not all have. What is for people is encoded, the domains of
addresses become A-labels, and what no encoding exists for (a local part, an id) is an error.

Invariants: ASCII stays as it is, and what is encoded reads the same.
Limitations: a comment in a field of addresses keeps its own words in place; blanks between them become single.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from urllib.parse import quote

from mta.mail.address import AddressError, parse_domain
from mta.mail.characters import hidden

LINE = 76  # characters of a line, RFC 2047 2
LONGEST = 998  # RFC 5322 2.1.1
_WORD = 39  # octets of text in an encoded word: with the name of a usual field they fit into a line
_ENCODED = re.compile(r"=\?[^?\s]+\?[bBqQ]\?[^?\s]*\?=\Z")
_PIECES = re.compile(
    r'(?P<blank>[ \t]+)|(?P<quoted>"(?:[^"\\]|\\.)*")|(?P<comment>\()|(?P<angle><[^<>]*>)|(?P<special>[,;:)])'
    r'|(?P<atom>[^\s"(<>,;:)]+|.)',
    re.DOTALL | re.ASCII,
)
_PARAMETER = re.compile(r'(;\s*)([^\s=;"]+)=("(?:[^"\\]|\\.)*"|[^;]*)')
_ESCAPE = re.compile(r"\\(.)")
_BLANKS = re.compile(r"[ \t]+")
_SPECIALS = frozenset(",;:)")
_UNFIT = frozenset({"boundary", "charset", "type"})  # parameters that programs compare


class NotEncodable(ValueError):
    """Why a value cannot be written in ASCII; the text may be shown to the client."""


def encode_text(value: str) -> list[str]:
    """Return the words of free text (RFC 2047 5 (1)), to be joined by blanks."""
    return list(_encoded(_split(value)))


def encode_addresses(value: str) -> list[str]:
    """Return the words of a list of mailboxes, phrases or a List-Id (RFC 2047 5 (2) and (3)). Raises NotEncodable."""
    words: list[str] = []
    phrase: list[str] = []
    for piece in _pieces(value):
        is_quoted = piece.startswith('"')
        if piece.startswith("@"):  # behind a quoted local part
            if not phrase or not phrase[-1].startswith('"'):
                raise NotEncodable(f"what is before {piece} cannot be encoded")
            piece = phrase.pop() + piece
        if piece.startswith(("<", "(")) or piece in _SPECIALS or ("@" in piece and not is_quoted):
            words += _encoded(phrase)
            phrase = []
            if piece in _SPECIALS and words and not _ENCODED.match(words[-1]):
                words[-1] += piece
            else:
                words.append(_other(piece))
        elif is_quoted:
            # encoded as a whole: its ASCII words may hold what only quotes protect
            phrase.append(piece if piece.isascii() else _ESCAPE.sub(r"\1", piece[1:-1]))
        else:
            phrase.append(piece)
    return [*words, *_encoded(phrase)]


def encode_parameters(value: str) -> list[str]:
    """Return the words of a Content-Type or Content-Disposition, its parameters as of RFC 2231. Raises NotEncodable."""
    first = value.find(";")
    start = value if first < 0 else value[:first]
    if not start.isascii():
        raise NotEncodable("its value is not ASCII")
    words, end = [start.strip()], len(start)
    for match in _PARAMETER.finditer(value, end):
        if not value[end : match.start()].isascii() or not match[2].isascii():
            raise NotEncodable("it is not ASCII outside the values of its parameters")
        words[-1] += ";"
        words += _parameter(match[2], match[3].strip())
        end = match.end()
    if not value[end:].isascii():
        raise NotEncodable("it is not ASCII outside the values of its parameters")
    return words


def fold(name: str, words: list[str]) -> bytes:
    """Return a raw field, folded between ``words``, without its last CRLF."""
    lines = [f"{name}:"]
    for word in words:
        most = LONGEST if lines[-1] == f"{name}:" else LINE
        if len(lines[-1]) + 1 + len(word) > most:
            lines.append("")
        lines[-1] += f" {word}"
    return "\r\n".join(lines).encode()


def _pieces(value: str) -> Iterator[str]:
    """Yield quoted texts, comments with their parentheses, angle brackets with what is in them, specials, atoms."""
    depth, comment = 0, ""
    for match in _PIECES.finditer(value):
        piece = match[0]
        if depth:
            comment += piece
            depth += piece.count("(") - piece.count(")") if match.lastgroup != "quoted" else 0
            if depth <= 0:
                yield comment
                depth, comment = 0, ""
        elif match.lastgroup == "comment":
            depth, comment = 1, piece
        elif match.lastgroup != "blank":
            yield piece
    if comment:
        raise NotEncodable("a comment is not closed")


def _split(text: str) -> list[str]:
    return [word for word in _BLANKS.split(text) if word]


def _other(piece: str) -> str:
    """Return a comment, an address or a special in ASCII."""
    if piece.isascii():
        return piece
    if piece.startswith("("):
        inner = _ESCAPE.sub(r"\1", piece[1:-1]).replace("(", " ").replace(")", " ")
        return f"({' '.join(_encoded(_split(inner)))})"
    if unseen := hidden(piece):
        raise NotEncodable(f"{unseen} in {piece} is not allowed; take it out")
    open_, close = ("<", ">") if piece.startswith("<") else ("", "")
    local, at, domain = piece[len(open_) : len(piece) - len(close)].rpartition("@")
    if not at or not local.isascii():
        raise NotEncodable(f"what is before the @ of {piece} is not ASCII; declare SMTPUTF8 with MAIL")
    try:
        return f"{open_}{local}@{parse_domain(domain.strip())}{close}"
    except AddressError as error:
        raise NotEncodable(f"the domain of {piece}: {error}") from None


def _encoded(words: list[str]) -> Iterator[str]:
    """Yield ``words`` with those beyond ASCII encoded, and the blanks between encoded words with them: readers are not
    shown those."""
    run: list[str] = []
    after_encoded = False
    for word in words:
        if not word.isascii():
            run.append(word)
            continue
        if run:
            text = (" " if after_encoded else "") + " ".join(run) + (" " if _ENCODED.match(word) else "")
            yield from _encode(text)
            run = []
        after_encoded = bool(_ENCODED.match(word))
        yield word
    if run:
        yield from _encode((" " if after_encoded else "") + " ".join(run))


def _encode(text: str) -> Iterator[str]:
    """Yield encoded words for ``text``, none of which splits a character."""
    octets = b""
    for letter in text:
        more = letter.encode()
        if len(octets) + len(more) > _WORD:
            yield _word(octets)
            octets = b""
        octets += more
    yield _word(octets)


def _word(octets: bytes) -> str:
    letters = "".join(
        chr(octet) if chr(octet).isascii() and chr(octet).isalnum() else "_" if octet == 0x20 else f"={octet:02X}"
        for octet in octets
    )
    plain = base64.b64encode(octets).decode()
    return f"=?utf-8?q?{letters}?=" if len(letters) <= len(plain) else f"=?utf-8?b?{plain}?="


def _parameter(name: str, value: str) -> Iterator[str]:
    """Yield one parameter, in several numbered pieces if it is long (RFC 2231 3 and 4)."""
    if value.isascii():
        yield f"{name}={value}"
        return
    if name.lower() in _UNFIT or "*" in name:
        raise NotEncodable(f"its parameter {name} is not ASCII")
    text = _ESCAPE.sub(r"\1", value[1:-1]) if value.startswith('"') else value
    pieces = [""]
    for letter in text:
        code = quote(letter, safe="!#$&+-.^_`{}~")
        if len(pieces[-1]) + len(code) > LINE - len(name) - 16:
            pieces.append("")
        pieces[-1] += code
    if len(pieces) == 1:
        yield f"{name}*=utf-8''{pieces[0]}"
        return
    pieces[0] = f"utf-8''{pieces[0]}"
    for n, piece in enumerate(pieces):
        yield f"{name}*{n}*={piece}" + (";" if n < len(pieces) - 1 else "")

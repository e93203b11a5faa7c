"""Parse command lines: verbs, paths and ESMTP parameters, into the types of ``mta.mail``.

Pure: a line in, a typed command out, or a ``Rejected`` with the reply that says what is wrong.

Invariants: nothing is repaired or guessed: no path without angle brackets, no source route, no parameter twice, no
xtext that hides a control character. What is accepted is safe to repeat to a receiver and in a DSN.

Limitations: a space after ``FROM:`` and ``TO:`` is tolerated (against RFC 5321 3.3), because many applications send it.
``RCPT TO:<postmaster>`` without a domain is rejected where no mail is received.
"""

from __future__ import annotations

import re
from enum import Enum
from functools import lru_cache
from typing import TypeVar

from mta.mail.address import Address, AddressError
from mta.mail.characters import hidden
from mta.mail.message import Body, Envelope, Notify, Recipient, Return, SenderTls
from mta.mail.reply import Reply
from mta.smtp_server.replies import LINE_TOO_LONG, Rejected, bad_parameter, too_large
from mta.smtp_server.timing import TimingOffer, check_order, read_by, read_hold, read_priority

MAX_LINE = 512  # octets with CRLF, RFC 5321 4.5.3.1.4
MAX_LINES = {
    # + SIZE (RFC 1870), BODY (6152), SMTPUTF8 (6531), AUTH (4954), DSN (3461), REQUIRETLS (8689), HOLDUNTIL (4865),
    # BY (2852), MT-PRIORITY (6710)
    "MAIL": 512 + 26 + 17 + 10 + 500 + 120 + 11 + 34 + 17 + 15,
    "RCPT": 512 + 10 + 30 + 500,  # + SMTPUTF8, NOTIFY, ORCPT
    "AUTH": 12288,  # RFC 4954 4
}  # fmt: skip
MAX_ENVID = 100  # characters, RFC 3461 4.4
MAX_ORCPT = 500  # characters, RFC 3461 4.2
MAX_HELLO = 255

VERBS = frozenset(
    {"EHLO", "HELO", "STARTTLS", "AUTH", "MAIL", "RCPT", "DATA", "BDAT", "RSET", "NOOP", "HELP", "VRFY", "QUIT"}
)
WITHOUT_ARGUMENT = frozenset({"STARTTLS", "DATA", "RSET", "QUIT"})
NOT_IMPLEMENTED = frozenset({"ETRN", "TURN", "ATRN", "EXPN", "SEND", "SOML", "SAML", "XCLIENT", "XFORWARD", "BURL"})
HTTP_METHODS = frozenset({"GET", "POST", "PUT", "HEAD", "OPTIONS", "CONNECT", "DELETE", "PATCH", "TRACE"})

_KEYWORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]*\Z")
_VALUE = re.compile(r"[\x21-\x3c\x3e-\x7e\u0080-\U0010ffff]+\Z")  # RFC 5321 4.1.2 esmtp-value, RFC 6531 3.3
_XTEXT = re.compile(r"(?:[\x21-\x2a\x2c-\x3c\x3e-\x7e]|\+[0-9A-F]{2})+\Z")  # RFC 3461 4
_HEXCHAR = re.compile(r"\+([0-9A-F]{2})")
_QUOTED_PATH = re.compile(r'<((?:[^<>"\\]|"(?:[^"\\]|\\.)*")*)>')
_ADDRESS_TYPE = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,63}\Z")
_CHUNK = re.compile(r"(\d{1,19})(?: +(LAST))?\Z", re.IGNORECASE | re.ASCII)
_HELLO = re.compile(r"[^\x00-\x20\x7f-\U0010ffff()<>,;\\\"@]+\Z")  # no character with a meaning in a Received field

Choice = TypeVar("Choice", bound=Enum)


def parse_line(line: bytes) -> tuple[str, str]:
    """Return a command line without its CRLF as (verb in upper case, argument without outer blanks).

    Raises Rejected, as everything here does.
    """
    try:
        text = line.decode()
    except UnicodeDecodeError:
        raise Rejected(Reply(500, "5.5.2", "Syntax error: command is neither ASCII nor UTF-8")) from None
    verb, _, argument = text.partition(" ")
    verb = verb.upper()
    if len(line) + 2 > MAX_LINES.get(verb, MAX_LINE):
        raise Rejected(Reply(500, "5.5.6", LINE_TOO_LONG.text) if verb == "AUTH" else LINE_TOO_LONG)
    return verb, argument.strip(" \t")


def shown(verb: str) -> str:
    """Return ``verb`` for a log: an unknown one may be anything, even a secret whose AUTH was rejected."""
    return verb if verb in VERBS or verb in NOT_IMPLEMENTED or verb in HTTP_METHODS else "?"


def read_hello(argument: str) -> str:
    """Return the name a client gives itself with EHLO or HELO."""
    if not argument or len(argument) > MAX_HELLO or not _HELLO.match(argument):
        raise Rejected(Reply(501, "5.5.4", "Syntax: EHLO hostname"))
    return argument


def device_hello(argument: str) -> str:
    """Return the name of a device that does not give itself a proper one, fit to stand in a Received field."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", argument).strip("-")[:MAX_HELLO] or "unknown"


def read_mail(
    argument: str, *, extended: bool, max_size: int, timing: TimingOffer | None = None
) -> tuple[Envelope, int | None]:
    """Return ``FROM:<path> parameters`` as an envelope without recipients, and the announced size. ``timing``: what is
    offered about times; None: nothing."""
    path, parameters = _path_and_parameters(argument, "FROM:", "MAIL", extended=extended)
    size, body, utf8, ret, envid, tls = None, Body.SEVEN_BIT, False, None, None, SenderTls.AS_POLICY
    release, deliver_by, priority = None, None, 0
    for keyword, value in parameters.items():
        match keyword:
            case "SIZE":
                size = _read_size(value, max_size)
            case "BODY":
                body = _read_enum(Body, keyword, value)
            case "SMTPUTF8" | "REQUIRETLS" if value is not None:
                raise bad_parameter(keyword, "takes no value")
            case "SMTPUTF8":
                utf8 = True
            case "REQUIRETLS":
                tls = SenderTls.REQUIRED
            case "RET":
                ret = _read_enum(Return, keyword, value)
            case "ENVID":
                envid = _read_xtext(keyword, value, MAX_ENVID)
            case "AUTH":  # who first submitted it (RFC 4954 5): not used
                _read_xtext(keyword, value, MAX_ORCPT)
            case "HOLDFOR" | "HOLDUNTIL" if timing:
                if release:
                    raise bad_parameter(keyword, "HOLDFOR and HOLDUNTIL exclude each other; give one of them")
                release = read_hold(keyword, value, timing)
            case "BY" if timing:
                deliver_by = read_by(value, timing)
            case "MT-PRIORITY" if timing:
                priority = read_priority(value)
            case _:
                raise Rejected(Reply(555, "5.5.4", f"Unsupported option: {_shown(keyword)}"))
    check_order(release, deliver_by)
    sender = _address(path, "sender", "5.1.7", utf8=utf8) if path else None
    return Envelope(sender, (), body, utf8, ret, envid, tls, release, deliver_by, priority), size


def read_recipient(argument: str, *, extended: bool, utf8: bool, postmaster_domain: str | None = None) -> Recipient:
    """Return ``TO:<path> parameters``; ``utf8``: MAIL had SMTPUTF8."""
    path, parameters = _path_and_parameters(argument, "TO:", "RCPT", extended=extended)
    notify, orcpt = None, None
    for keyword, value in parameters.items():
        match keyword:
            case "NOTIFY":
                notify = _read_notify(value)
            case "ORCPT":
                orcpt = _read_orcpt(value, utf8=utf8)
            case _:
                raise Rejected(Reply(555, "5.5.4", f"Unsupported option: {_shown(keyword)}"))
    if path.casefold() == "postmaster":
        if postmaster_domain:
            return Recipient(Address("postmaster", postmaster_domain), notify, orcpt)
        raise Rejected(Reply(550, "5.1.1", "User unknown: no local mailboxes, give the postmaster's full address"))
    return Recipient(_address(path, "recipient", "5.1.3", utf8=utf8), notify, orcpt)


def read_chunk(argument: str) -> tuple[int, bool]:
    """Return ``BDAT size [LAST]`` as (octets, whether it is the last chunk), RFC 3030 2."""
    match = _CHUNK.match(argument)
    if not match:
        raise Rejected(Reply(501, "5.5.4", "Syntax: BDAT size [LAST]"))
    return int(match[1]), match[2] is not None


def _path_and_parameters(argument: str, prefix: str, verb: str, *, extended: bool) -> tuple[str, dict[str, str | None]]:
    """Return what is between the angle brackets, and the parameters by keyword in upper case (None: no value)."""
    form = Reply(501, "5.5.4", f"Syntax: {verb} {prefix}<address> [parameters]")
    if argument[: len(prefix)].upper() != prefix:
        raise Rejected(form)
    rest = argument[len(prefix) :].lstrip(" ")
    if '"' not in rest:
        path, bracket, tail = rest[1:].partition(">")
        if not rest.startswith("<") or not bracket:
            raise Rejected(form)
    else:
        match = _QUOTED_PATH.match(rest)
        if not match:
            raise Rejected(form)
        path, tail = match[1], rest[match.end() :]
    if not tail:
        return path, {}
    if tail[0] != " ":
        raise Rejected(form)
    if not extended:
        raise Rejected(Reply(555, "5.5.4", "Unsupported option: parameters need EHLO, not HELO"))
    return path, _parameters(tail)


def _parameters(text: str) -> dict[str, str | None]:
    found: dict[str, str | None] = {}
    for word in filter(None, text.split(" ")):
        keyword, equals, value = word.partition("=")
        if not _KEYWORD.match(keyword) or (equals and not _VALUE.match(value)):
            raise bad_parameter(_shown(word), "use KEYWORD or KEYWORD=value")
        keyword = keyword.upper()
        if keyword in found:
            raise bad_parameter(keyword, "given twice")
        found[keyword] = value if equals else None
    return found


def _address(path: str, whose: str, status: str, *, utf8: bool) -> Address:
    if not utf8 and not path.isascii():
        raise Rejected(Reply(553, "5.6.7", "Must declare SMTPUTF8 to use a non-ASCII address"))
    try:
        return _parse(path)
    except AddressError as error:
        raise Rejected(Reply(501, status, f"Bad {whose} address syntax: {error}")) from None


_parse = lru_cache(512)(Address.parse)  # senders repeat from message to message


def _read_size(value: str | None, max_size: int) -> int:
    if value is None or not value.isascii() or not value.isdigit() or len(value) > 20:
        raise bad_parameter("SIZE", "must be a number of octets")
    size = int(value)
    if size > max_size:
        raise Rejected(too_large(max_size))
    return size


def _read_enum(kind: type[Choice], keyword: str, value: str | None) -> Choice:
    try:
        return kind((value or "").upper())
    except ValueError:
        raise bad_parameter(keyword, f"must be one of {', '.join(choice.value for choice in kind)}") from None


def _read_notify(value: str | None) -> Notify:
    words = (value or "").upper().split(",")
    if words == ["NEVER"]:
        return Notify.NEVER
    notify = Notify.NEVER
    for word in words:
        choice = _NOTIFY.get(word)
        if choice is None or choice in notify:
            raise bad_parameter("NOTIFY", "must be NEVER or a list of SUCCESS,FAILURE,DELAY")
        notify |= choice
    return notify


_NOTIFY = {"SUCCESS": Notify.SUCCESS, "FAILURE": Notify.FAILURE, "DELAY": Notify.DELAY}


def _read_orcpt(value: str | None, *, utf8: bool) -> str:
    """Return ``addr-type;xtext`` as it came (RFC 3461 4.2; ``utf-8;`` may hold bare UTF-8, RFC 6533 3)."""
    kind, semicolon, address = (value or "").partition(";")
    if not semicolon or not _ADDRESS_TYPE.match(kind):
        raise bad_parameter("ORCPT", "must be of the form rfc822;address")
    if utf8 and kind.lower() == "utf-8" and not address.isascii():
        if len(address) > MAX_ORCPT:
            raise bad_parameter("ORCPT", f"must be at most {MAX_ORCPT} characters")
        if unseen := hidden(address):
            raise bad_parameter("ORCPT", f"{unseen} is not allowed")
    else:
        _read_xtext("ORCPT", address, MAX_ORCPT)
    return f"{kind};{address}"


def _read_xtext(keyword: str, value: str | None, limit: int) -> str:
    """Return ``value`` as it came: xtext that decodes to printable ASCII (RFC 3461 4)."""
    if value is None or len(value) > limit or not _XTEXT.match(value):
        raise bad_parameter(keyword, f"must be xtext of at most {limit} characters")
    if any(not 0x20 <= int(octet, 16) <= 0x7E for octet in _HEXCHAR.findall(value)):
        raise bad_parameter(keyword, "contains an unprintable character")
    return value


def _shown(word: str) -> str:
    return word if len(word) <= 40 else f"{word[:37]}..."

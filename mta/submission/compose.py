"""Write a message from its parts: what an application gives over HTTP instead of writing MIME itself.

Pure. Text goes out as it is if every receiver takes it so, else as quoted-printable; attachments as base64. Images that
the HTML shows stand beside it (multipart/related, RFC 2387), other attachments behind both (multipart/mixed).

Invariants: no value becomes a line of its own: every field is written by ``mta.mail.encoded_words``, and one with a
control character is refused. Fields that the message needs once are written here, and cannot be given again.
"""

from __future__ import annotations

import re
import secrets
from base64 import encodebytes
from binascii import b2a_qp
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from email.utils import format_datetime

from config.header_fields import OPTION_PREFIX
from mta.mail.address import Address
from mta.mail.encoded_words import encode_addresses, encode_parameters, encode_text, fold

MAX_VALUE = 2000  # characters of one field
MAX_LINE = 998  # octets of a line of text (RFC 5322 2.1.1)
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,68}[A-Za-z0-9])?")
_OURS = frozenset(
    ("from", "to", "cc", "bcc", "reply-to", "subject", "date", "mime-version", "sender", "return-path", "received")
)
_TYPE = re.compile(r"[A-Za-z0-9][\w.+-]{0,60}/[A-Za-z0-9][\w.+-]{0,100}", re.ASCII)
_PLAIN = bytes(range(0x20, 0x7F)) + b"\n\t"
# White space at the end of a line is lost on the way, and "From " at its beginning is changed.
_CHANGED = (b" \n", b"\t\n", b"\nFrom ")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


class ComposeError(ValueError):
    """Why a message cannot be written. ``part``: what of it."""

    def __init__(self, part: str, text: str) -> None:
        super().__init__(f"{part}: {text}")
        self.part = part


@dataclass(frozen=True, slots=True)
class NamedAddress:
    """An address with the name that is shown beside it."""

    address: Address
    name: str = ""

    def __str__(self) -> str:
        if not self.name:
            return str(self.address)
        escaped = self.name.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{escaped}" <{self.address}>'


@dataclass(frozen=True, slots=True)
class GivenFile:
    """``content_id``: for an image that the HTML shows as ``cid:...``; it stands beside the HTML then."""

    filename: str
    content: bytes
    content_type: str = "application/octet-stream"
    content_id: str = ""


@dataclass(frozen=True, slots=True)
class MessageDraft:
    """A message in parts. ``options``: of the submission, as in X-MTA fields, without their prefix."""

    author: NamedAddress
    to: Sequence[NamedAddress]
    subject: str
    text: str | None = None
    html: str | None = None
    cc: Sequence[NamedAddress] = ()
    reply_to: Sequence[NamedAddress] = ()
    attachments: Sequence[GivenFile] = ()
    headers: Sequence[tuple[str, str]] = ()
    options: Sequence[tuple[str, str]] = field(default=())


def compose(draft: MessageDraft, at: datetime) -> bytes:
    """Return the message with CRLF line ends. Raises ComposeError."""
    if draft.text is None and draft.html is None:
        raise ComposeError("text", "a message needs a text, an HTML part or both")
    fields = [_addresses("From", [draft.author]), _addresses("To", draft.to)]
    fields += [_addresses(name, given) for name, given in (("Cc", draft.cc), ("Reply-To", draft.reply_to)) if given]
    fields.append(_text_field("Subject", draft.subject))
    fields.append(f"Date: {format_datetime(at)}".encode())
    given = {name.lower() for name, _ in draft.headers}
    if "message-id" not in given:
        fields.append(f"Message-ID: <{secrets.token_hex(16)}@{draft.author.address.domain}>".encode())
    fields += [_given_field(name, value) for name, value in draft.headers]
    fields += [_text_field(f"{OPTION_PREFIX}{name.title()}", value) for name, value in draft.options]
    fields.append(b"MIME-Version: 1.0")
    head, body = _body(draft)
    return b"\r\n".join([*fields, *head]) + b"\r\n\r\n" + body


_Part = tuple[list[bytes], bytes]  # its header fields, and what follows them


def _body(draft: MessageDraft) -> _Part:
    texts = [_text(kind, text) for kind, text in (("plain", draft.text), ("html", draft.html)) if text is not None]
    shown = [each for each in draft.attachments if each.content_id]
    if shown and draft.html is not None:
        images = [_attachment(each, inline=True) for each in shown]
        texts[-1] = _multipart("related", [texts[-1], *images])
    part = texts[0] if len(texts) == 1 else _multipart("alternative", texts)
    others = [each for each in draft.attachments if not (each.content_id and draft.html is not None)]
    if not others:
        return part
    return _multipart("mixed", [part, *(_attachment(each, inline=False) for each in others)])


def _text(kind: str, text: str) -> _Part:
    try:
        octets = text.replace("\r\n", "\n").replace("\r", "\n").encode()
    except UnicodeEncodeError:
        raise ComposeError("html" if kind == "html" else "text", "is not valid Unicode") from None
    encoding, written = (b"7bit", octets) if _is_plain(octets) else (b"quoted-printable", b2a_qp(octets, istext=True))
    head = [f'Content-Type: text/{kind}; charset="utf-8"'.encode(), b"Content-Transfer-Encoding: " + encoding]
    return head, written.replace(b"\n", b"\r\n")


def _is_plain(octets: bytes) -> bool:
    """Return whether every receiver takes this text as it is."""
    lines = b"\n" + octets + b"\n"
    return (
        not octets.translate(None, _PLAIN)
        and not any(each in lines for each in _CHANGED)
        and max(map(len, octets.split(b"\n"))) <= MAX_LINE
    )


def _attachment(given: GivenFile, *, inline: bool) -> _Part:
    if not _TYPE.fullmatch(given.content_type) or given.content_type.lower().startswith(("multipart/", "message/")):
        raise ComposeError("attachments", f"{given.content_type[:80]!r} is not the type of an attachment")
    name = _checked("attachments", given.filename, 200).replace("\\", "_").replace("/", "_").replace('"', "'")
    disposition = f'{"inline" if inline else "attachment"}; filename="{name}"'
    head = [
        f"Content-Type: {given.content_type}".encode(),
        fold("Content-Disposition", encode_parameters(disposition)),
        b"Content-Transfer-Encoding: base64",
    ]
    if given.content_id:
        if not re.fullmatch(r"[\w.@+-]{1,100}", given.content_id, re.ASCII):
            raise ComposeError("attachments", "a content_id has 1 to 100 letters, digits and ._@+-")
        head.append(f"Content-ID: <{given.content_id}>".encode())
    return head, encodebytes(given.content).strip().replace(b"\n", b"\r\n")


def _multipart(kind: str, parts: Sequence[_Part]) -> _Part:
    boundary = f"=_{secrets.token_hex(16)}"  # never in quoted-printable or base64
    delimiter = f"--{boundary}".encode()
    octets = b"".join(delimiter + b"\r\n" + b"\r\n".join(head) + b"\r\n\r\n" + body + b"\r\n" for head, body in parts)
    return [f'Content-Type: multipart/{kind}; boundary="{boundary}"'.encode()], octets + delimiter + b"--\r\n"


def _addresses(name: str, given: Sequence[NamedAddress]) -> bytes:
    for each in given:
        _checked(name.lower().replace("-", "_"), each.name, 200)
    value = ", ".join(map(str, given))
    if not all(each.address.is_ascii for each in given):
        return f"{name}: {value}".encode()  # no other way is known to write such a local part (RFC 6532)
    return fold(name, encode_addresses(value))


def _given_field(name: str, value: str) -> bytes:
    lower = name.lower()
    if not _NAME.fullmatch(name):
        raise ComposeError("headers", f"{name[:80]!r} is not the name of a header field")
    if lower in _OURS or lower.startswith("content-"):
        raise ComposeError("headers", f"{name} is written by the server; give its value in the field meant for it")
    if lower.startswith(OPTION_PREFIX.lower()):
        raise ComposeError("headers", f"{name}: give this option in `options`")
    return _text_field(name, value)


def _text_field(name: str, value: str) -> bytes:
    return fold(name, encode_text(_checked(name.lower(), value, MAX_VALUE)))


def _checked(part: str, value: str, longest: int) -> str:
    if len(value) > longest:
        raise ComposeError(part, f"is longer than {longest} characters")
    if _CONTROL.search(value):
        raise ComposeError(part, "must not contain control characters or line ends")
    return value

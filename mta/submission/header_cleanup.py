"""Make the header of a submitted message fit to leave: remove what must not leave, and write what not all receivers can
read so that they can.

``config.header_fields`` says what happens to which field. It happens before the policy chain and the signature, so what
was checked is what leaves.

Invariants: no field that discloses a recipient or that only this service writes is left. Without SMTPUTF8 the header is
ASCII, and with it UTF-8. The address in an author's field is spelled as it is compared.
Limitations: headers of MIME parts and of attached messages are left alone: they are content.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache

from config.header_fields import BY_NAME, UNLISTED, Text
from mta.mail.address import AddressError
from mta.mail.characters import named
from mta.mail.encoded_words import NotEncodable, encode_addresses, encode_parameters, encode_text, fold
from mta.mail.headers import Headers
from mta.mail.mailbox import read_mailbox
from mta.mail.message import Message
from mta.mail.values import replace
from policy.header_fields import NOT_ALWAYS_LEAVING, OPTION, outgoing_fields

AUTHORS = frozenset({b"from", b"sender", b"reply-to", b"resent-from", b"resent-sender"})


Fields = Sequence[tuple[bytes, bytes]]


class UnfitFieldError(ValueError):
    """Why a field cannot leave; the text is for the client."""


def clean_header(message: Message, host_names: frozenset[str]) -> tuple[Message, str]:
    """Return ``message`` with a header that may leave, and what was changed, in words; "" if nothing was.

    ``host_names``: by which this host could be named as a verifier. Raises UnfitFieldError.
    """
    if _is_clean(message):
        return message, ""
    kept, removed = outgoing_fields(message.headers, host_names, submitted=True)
    written = list(_written(message.headers, kept, smtputf8=message.envelope.smtputf8))
    changed = [name for (name, new), (_, old) in zip(written, kept, strict=True) if new != old]
    if not changed and len(kept) == len(message.headers.fields):
        return message, ""
    block = b"".join(raw + b"\r\n" for _, raw in written) + b"\r\n"
    notes = [f"removed {_names(removed)}"] if removed else []
    notes += [f"written anew {_names(changed)}"] if changed else []
    return replace(message, head=block, headers=Headers(tuple(written), len(block))), "; ".join(notes)


def _is_clean(message: Message) -> bool:
    """Return whether nothing is to be done, as with most messages."""
    for name, raw in message.headers.fields:
        if name in AUTHORS:
            if _with_checked_address(raw) is not raw:
                return False
        elif name in NOT_ALWAYS_LEAVING or name.startswith(OPTION):
            return False
    return message.head.isascii()


def _written(
    headers: Headers, fields: Sequence[tuple[bytes, bytes]], *, smtputf8: bool
) -> Iterator[tuple[bytes, bytes]]:
    """Yield the fields as they leave. Raises UnfitFieldError."""
    for name, raw in fields:
        written = _with_checked_address(raw) if name in AUTHORS else raw
        if not written.isascii():
            try:
                written = readable_field(name, written, smtputf8=smtputf8)
            except NotEncodable as error:
                raise UnfitFieldError(f"{_place(headers, raw)}: {error}") from None
        yield name, written


@lru_cache(4096)
def _with_checked_address(raw: bytes) -> bytes:
    """Return an author's field with its address spelled as it is compared. A field that is no mailbox stays as it is:
    the policy chain says what is wrong with it."""
    name, _, value = raw.partition(b":")
    try:
        text = value.replace(b"\r\n", b"").decode()
        written = read_mailbox(text).value
    except (AddressError, UnicodeDecodeError):
        return raw
    return raw if written == text else fold(name.decode().strip(), written.strip().split(" "))


def readable_field(name: bytes, raw: bytes, *, smtputf8: bool) -> bytes:
    """Return a field beyond ASCII as receivers can read it. Raises NotEncodable."""
    try:
        text = raw.partition(b":")[2].replace(b"\r\n", b"").decode()
    except UnicodeDecodeError as error:
        octet = error.object[error.start]
        raise NotEncodable(f"octet 0x{octet:02X} is not UTF-8; encode the field (RFC 2047)") from None
    if smtputf8:
        return raw
    shown = raw.partition(b":")[0].decode().strip()
    match BY_NAME.get(name, UNLISTED).text:
        case Text.FREE:
            words = encode_text(text)
        case Text.ADDRESSES:
            words = encode_addresses(text)
        case Text.PARAMETERS:
            words = encode_parameters(text)
        case Text.NONE:
            letter = next(letter for letter in text if not letter.isascii())
            raise NotEncodable(f"{named(letter)} is not ASCII, and this field cannot be encoded")
    return fold(shown, words)


def _place(headers: Headers, raw: bytes) -> str:
    """Return which field it is, and its line."""
    line = 1
    for _, each in headers.fields:
        if each == raw:
            break
        line += each.count(b"\r\n") + 1
    return f"field {raw.partition(b':')[0].decode().strip()}, line {line}"


def _names(names: Iterable[bytes]) -> str:
    """Return names of fields, with how often if more than once."""
    counted = Counter(BY_NAME[name].name if name in BY_NAME else name.decode().title() for name in names)
    return ", ".join(name if count == 1 else f"{name} ({count})" for name, count in counted.items())

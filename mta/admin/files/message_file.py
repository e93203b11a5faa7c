"""Messages that are looked at as if they were submitted: to confirm a mailing, or to say what would become of them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from ipaddress import ip_address

from config.schema import Settings
from mta.admin.errors import InvalidValue
from mta.dkim import KeyRing, Signer
from mta.mail.address import Address, AddressError
from mta.mail.headers import HeaderError, Headers
from mta.mail.identity import new_message_id
from mta.mail.mailbox import parse_mailbox
from mta.mail.message import Body, Envelope, Message, Origin, Recipient
from mta.store.store import Store
from mta.submission.prepare import Preparer
from policy.accounts.account import Account
from policy.profile import Profiles


@dataclass(frozen=True, slots=True)
class MessageFile:
    """A message file with the envelope that it would be submitted with. ``name``: as typed."""

    name: str
    content: bytes
    envelope: Envelope


def with_crlf(content: bytes) -> bytes:
    """Return ``content`` with the line ends of SMTP."""
    if not content.endswith((b"\r", b"\n")):
        content += b"\r\n"
    return re.sub(rb"\r\n|\r|\n", b"\r\n", content)


def message_of(name: str, content: bytes, recipients: Sequence[str], sender: str | None) -> MessageFile:
    """Return a message with its envelope; without ``recipients`` and ``sender``, those of its header.

    Raises InvalidValue.
    """
    try:
        headers = Headers.split(content)
    except HeaderError as error:
        raise InvalidValue("message", f"{name}: not a message: {error}") from None
    if not headers.fields:
        raise InvalidValue("message", f"{name}: not a message: it has no header")
    addresses = [_address(text, "recipient") for text in recipients] or [_only_recipient(name, headers)]
    envelope = Envelope(
        _address(sender, "sender") if sender else _author(headers),
        tuple(Recipient(address) for address in dict.fromkeys(addresses)),
        body=Body.SEVEN_BIT if content.isascii() else Body.EIGHT_BIT,
    )
    return MessageFile(name, content, envelope)


async def open_preparer(store: Store, settings: Settings, profiles: Profiles) -> Preparer:
    """Return what judges, completes and signs a message as the service does."""
    keys = KeyRing.of_files(settings.signing)
    keys.replace_stored(await store.dkim_keys.list())
    return Preparer(settings, store, Signer(settings.signing, keys), profiles)


def submitted(file: MessageFile, account: Account, credential: str | None = None) -> Message:
    """Return the message as if the account submitted it from this machine."""
    origin = Origin(
        account_id=account.id,
        account=account.name,
        credential=credential,
        client=ip_address("127.0.0.1"),
        hello="mta lint",
        session="lint",
        protocol="ESMTPSA",
        received_at=datetime.now(UTC),
    )
    return Message.of(new_message_id(), file.envelope, origin, file.content)


def _address(text: str, name: str) -> Address:
    try:
        return Address.parse(text)
    except AddressError as error:
        raise InvalidValue(name, f"--{name} {text}: {error}") from None


def _only_recipient(file: str, headers: Headers) -> Address:
    try:
        return parse_mailbox(headers.value(b"to") or "")
    except AddressError as error:
        why = f"{file}: its To field {error}; name the recipient with --recipient"
        raise InvalidValue("recipient", why) from None


def _author(headers: Headers) -> Address | None:
    """Return the From field's address; a rule reports what is wrong with that field."""
    try:
        return parse_mailbox(headers.value(b"from") or "")
    except AddressError:
        return None

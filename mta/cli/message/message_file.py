"""The message file and the profiles that commands judge (``mta lint``, ``mta mailing confirm``).

Invariants: a file is read whole or not at all.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING

from config.toml import ConfigError
from mta.cli.output import fail
from mta.mail.address import Address, AddressError
from mta.mail.headers import HeaderError, Headers
from mta.mail.identity import new_message_id
from mta.mail.mailbox import parse_mailbox
from mta.mail.message import Body, Envelope, Message, Origin, Recipient
from policy.permission.tokens import SampleTokens
from policy.profile import UnknownProfile, load_profiles

if TYPE_CHECKING:
    from config.schema import Settings
    from mta.store.store import Store
    from mta.submission.prepare import Preparer
    from policy.accounts.account import Account
    from policy.profile import Profiles

MAX_OCTETS = 200 * 1024 * 1024  # of a file


@dataclass(frozen=True, slots=True)
class MessageFile:
    """A message file with the envelope that it would be submitted with. ``name``: as typed."""

    name: str
    content: bytes
    headers: Headers
    envelope: Envelope


@dataclass(frozen=True, slots=True)
class ProfileChoice:
    """The profiles to judge by. ``name``: the one asked for, None: each account's own. ``before``: the profiles without
    the file that was named; the same ones if none was."""

    profiles: Profiles
    before: Profiles
    name: str | None


def choose_profiles(settings: Settings, asked: str | None) -> ProfileChoice:
    """Return the configured profiles; a file ``asked`` replaces the one of its name. Else exit status 2."""
    from mta.service.composition import rule_context

    context = rule_context(settings, SampleTokens())
    files = settings.policy.profiles
    try:
        before = load_profiles(files, context)
        if asked is None or not ("/" in asked or asked.endswith(".toml")):
            if asked is not None:
                before.get(asked)
            return ProfileChoice(before, before, asked)
        path = Path(asked)
        others = [other for other in files if other.stem != path.stem]
        return ProfileChoice(load_profiles([*others, path], context), before, path.stem)
    except ConfigError as error:
        fail("\n".join(error.lines), status=2)
    except UnknownProfile as error:
        fail(str(error), status=2)


def read_message(file: str, recipients: list[str], sender: str | None) -> MessageFile:
    """Return the message in ``file``, "-" for standard input, or end the command with status 2."""
    return message_of(file, _content(file), recipients, sender)


def message_of(name: str, content: bytes, recipients: Sequence[str], sender: str | None) -> MessageFile:
    """Return a message with its envelope, or end the command with status 2."""
    try:
        headers = Headers.split(content)
    except HeaderError as error:
        fail(f"{name}: not a message: {error}", status=2)
    if not headers.fields:
        fail(f"{name}: not a message: it has no header", status=2)
    addresses = [_address(text, "--recipient") for text in recipients] or [_only_recipient(name, headers)]
    envelope = Envelope(
        _address(sender, "--sender") if sender else _author(headers),
        tuple(Recipient(address) for address in dict.fromkeys(addresses)),
        body=Body.SEVEN_BIT if content.isascii() else Body.EIGHT_BIT,
    )
    return MessageFile(name, content, headers, envelope)


async def open_preparer(store: Store, settings: Settings, profiles: Profiles) -> Preparer:
    """Return what judges, completes and signs a message as the service does."""
    from mta.dkim import KeyRing, Signer
    from mta.submission.prepare import Preparer

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
    return Message(new_message_id(), file.envelope, origin, file.headers, file.content)


def _content(file: str) -> bytes:
    """Return the file with the line ends of SMTP."""
    try:
        if file == "-":
            content = sys.stdin.buffer.read(MAX_OCTETS + 1)
        else:
            with Path(file).open("rb") as opened:
                content = opened.read(MAX_OCTETS + 1)
    except (OSError, ValueError) as error:
        fail(f"{file}: cannot be read: {getattr(error, 'strerror', None) or error}", status=2)
    if len(content) > MAX_OCTETS:
        fail(f"{file}: is larger than {MAX_OCTETS} octets", status=2)
    if not content.strip():
        fail(f"{file}: is empty", status=2)
    if not content.endswith((b"\r", b"\n")):
        content += b"\r\n"
    return re.sub(rb"\r\n|\r|\n", b"\r\n", content)


def _address(text: str, option: str) -> Address:
    try:
        return Address.parse(text)
    except AddressError as error:
        fail(f"{option} {text}: {error}", status=2)


def _only_recipient(file: str, headers: Headers) -> Address:
    try:
        return parse_mailbox(headers.value(b"to") or "")
    except AddressError as error:
        fail(f"{file}: its To field {error}; name the recipient with --recipient", status=2)


def _author(headers: Headers) -> Address | None:
    """Return the From field's address; a rule reports what is wrong with that field."""
    try:
        return parse_mailbox(headers.value(b"from") or "")
    except AddressError:
        return None

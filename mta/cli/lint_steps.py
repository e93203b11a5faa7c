"""What ``mta lint`` does: reads the file as a client would send it, and asks the chain.

It must never judge a file that it could not read whole.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path

from config.schema import Settings
from config.toml import ConfigError
from mta.cli.output import fail
from mta.dkim import KeyRing, Signer
from mta.mail.address import Address, AddressError
from mta.mail.headers import HeaderError, Headers
from mta.mail.identity import new_message_id
from mta.mail.mailbox import parse_mailbox
from mta.mail.message import Body, Envelope, Message, Origin, Recipient
from mta.service.composition import rule_context
from mta.store.accounts.accounts import AccountError
from mta.store.store import Store
from mta.submission.lint import Linted
from mta.submission.lint import lint as lint_message
from mta.submission.prepare import Preparer, Submitter
from mta.submission.rate_limit import RateLimit
from policy.accounts.account import Account, Grant
from policy.permission.tokens import SampleTokens
from policy.profile import Profiles, UnknownProfile, load_profiles

MOST = 200 * 1024 * 1024  # octets of a file


class CannotLint(Exception):
    """The input cannot be read; the text says why."""


@dataclass(frozen=True, slots=True)
class Subject:
    """A message file, read; and the envelope it would come in."""

    name: str
    content: bytes
    headers: Headers
    envelope: Envelope


@dataclass(frozen=True, slots=True)
class Chosen:
    """The profiles to judge by. ``name``: the one asked for, None: each account's own. ``before``: without the file
    that was named; the same if it was none."""

    profiles: Profiles
    before: Profiles
    name: str | None


def profiles_with(settings: Settings, asked: str | None) -> Chosen:
    """The configured profiles, with the file ``asked`` instead of the one of its name. Raises CannotLint."""
    context = rule_context(settings, SampleTokens())
    files = settings.policy.profiles
    try:
        before = load_profiles(files, context)
        if asked is None or not ("/" in asked or asked.endswith(".toml")):
            if asked is not None:
                before.get(asked)
            return Chosen(before, before, asked)
        path = Path(asked)
        others = [other for other in files if other.stem != path.stem]
        return Chosen(load_profiles([*others, path], context), before, path.stem)
    except ConfigError as error:
        raise CannotLint("\n".join(error.lines)) from None
    except UnknownProfile as error:
        raise CannotLint(f"mta lint: {error}") from None


def read(file: str, recipients: list[str], sender: str | None) -> Subject:
    """The message in ``file``. Raises CannotLint."""
    content = _content(file)
    try:
        headers = Headers.split(content)
    except HeaderError as error:
        raise CannotLint(f"{file}: not a message: {error}") from None
    if not headers.fields:
        raise CannotLint(f"{file}: not a message: it has no header")
    addresses = [_address(text, "--recipient") for text in recipients] or [_only_recipient(file, headers)]
    envelope = Envelope(
        _address(sender, "--sender") if sender else _author(headers),
        tuple(Recipient(address) for address in dict.fromkeys(addresses)),
        body=Body.SEVEN_BIT if content.isascii() else Body.EIGHT_BIT,
    )
    return Subject(file, content, headers, envelope)


def _content(file: str) -> bytes:
    """The file with the line ends of SMTP."""
    try:
        content = sys.stdin.buffer.read(MOST + 1) if file == "-" else _read_file(Path(file))
    except (OSError, ValueError) as error:
        raise CannotLint(f"{file}: cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if len(content) > MOST:
        raise CannotLint(f"{file}: is larger than {MOST} octets")
    if not content.strip():
        raise CannotLint(f"{file}: is empty")
    if not content.endswith((b"\r", b"\n")):
        content += b"\r\n"
    return re.sub(rb"\r\n|\r|\n", b"\r\n", content)


def _read_file(path: Path) -> bytes:
    with path.open("rb") as opened:
        return opened.read(MOST + 1)


def _address(text: str, option: str) -> Address:
    try:
        return Address.parse(text)
    except AddressError as error:
        raise CannotLint(f"{option} {text}: {error}") from None


def _only_recipient(file: str, headers: Headers) -> Address:
    try:
        return parse_mailbox(headers.value(b"to") or "")
    except AddressError as error:
        raise CannotLint(f"{file}: its To field {error}; name who would get it with --recipient") from None


def _author(headers: Headers) -> Address | None:
    """The From field's address; what is wrong with that field a rule will say."""
    try:
        return parse_mailbox(headers.value(b"from") or "")
    except AddressError:
        return None


async def lint(
    store: Store, settings: Settings, chosen: Chosen, subject: Subject, account: str, credential: str | None
) -> Linted:
    """What would become of ``subject``. Ends the command if there is no such account, credential or profile."""
    try:
        found = (await store.accounts.find(account)).account
        submitter = Submitter(replace(found, profile=chosen.name or found.profile), _grant(store, found, credential))
        preparer = await preparer_of(store, settings, chosen.profiles)
        rate_limit = RateLimit(store.quotas, settings.rate_limits)
        return await lint_message(preparer, rate_limit, submitter, _message(subject, found, credential))
    except (AccountError, UnknownProfile, CannotLint) as error:
        fail(f"mta lint: {error}", status=2)


async def preparer_of(store: Store, settings: Settings, profiles: Profiles) -> Preparer:
    """Return what prepares messages, with the keys that would sign and the scanners that would be asked."""
    keys = KeyRing.of_files(settings.signing)
    keys.replace_stored(await store.dkim_keys.list())
    return Preparer(settings, store, Signer(settings.signing, keys), profiles)


def _grant(store: Store, account: Account, credential: str | None) -> Grant:
    if credential is None:
        return Grant()
    grant, known = store.accounts.grant(credential), store.accounts.by_credential(credential)
    if grant is None or known is None or known.account.id != account.id:
        raise CannotLint(f'account "{account.name}" has no credential "{credential}"')
    return grant


def _message(subject: Subject, account: Account, credential: str | None) -> Message:
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
    return Message(new_message_id(), subject.envelope, origin, subject.headers, subject.content)

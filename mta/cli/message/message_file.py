"""The message file and the profiles that commands judge (``mta lint``, ``mta mailing confirm``).

Invariants: a file is read whole or not at all.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from config.toml import ConfigError
from mta.cli.output import fail
from policy.permission.tokens import SampleTokens
from policy.profile import UnknownProfile, load_profiles

if TYPE_CHECKING:
    from config.schema import Settings
    from mta.admin.files.message_file import MessageFile
    from policy.profile import Profiles

MAX_OCTETS = 200 * 1024 * 1024  # of a file


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
    from mta.admin.files.message_file import message_of

    return message_of(file, _content(file), recipients, sender)


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
    from mta.admin.files.message_file import with_crlf

    return with_crlf(content)

"""Find a mailing by its id, its name, or a header line that carries either.

Invariants: of several mailings with one name none is chosen: the account must be named.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated

import typer

from mta.cli.context import account_id
from mta.cli.output import fail

if TYPE_CHECKING:
    from config.schema import Settings
    from mta.store.store import Store
    from policy.accounts.mailing import Mailing

MailingArgument = Annotated[
    str,
    typer.Argument(
        metavar="MAILING",
        help="Id or name of the mailing, or a pasted header line: X-Mailing-ID, Feedback-ID, List-Unsubscribe, "
        "CFBL-Feedback-ID.",
    ),
]
MailingAccountOption = Annotated[
    str | None,
    typer.Option("--account", "-a", metavar="NAME", help="Whose mailing, if several accounts use the name."),
]

LONGEST = 10_000  # characters of a pasted header line

_ID = re.compile(r"(?<![0-9A-Za-z])[0-9A-HJKMNP-TV-Za-hjkmnp-tv-z]{26}(?![0-9A-Za-z])")
_WORD = re.compile(r"[A-Za-z0-9_-]{60,1000}")


async def find_mailing(settings: Settings, store: Store, which: str, account: str | None) -> Mailing:
    """Return the one mailing that ``which`` names; exit status 1 if there is none, or more than one."""
    which = which.strip()[:LONGEST]
    for mailing_id in _ids_in(which) or ids_in_tokens(settings, which):
        if record := await store.mailings.show(mailing_id):
            return record.mailing
    named = [record.mailing for record in await store.mailings.named(which)]
    if (owner := await account_id(store, account)) is not None:
        named = [mailing for mailing in named if mailing.account_id == owner]
    if not named:
        fail(f"there is no mailing {which[:100]!r}")
    if len(named) > 1:
        fail(f"several accounts have a mailing {which[:100]!r}: name the account with --account")
    return named[0]


def ids_in_tokens(settings: Settings, text: str) -> list[str]:
    """Return the ids of the mailings that the service's own tokens in ``text`` belong to."""
    from mta.service.composition import open_tokens
    from mta.store.postgres.secrets import Secrets

    words = _WORD.findall(text)
    if not words:
        return []
    secrets = Secrets.load_or_create(settings.server.secret_file or settings.server.data_dir / "secret")
    tokens = open_tokens(settings, secrets)
    return [claim.mailing for word in words if (claim := tokens.read(word)) and claim.mailing]


def _ids_in(text: str) -> list[str]:
    """Return what looks like the id of a mailing, in lower case."""
    return [match.lower() for match in _ID.findall(text)]

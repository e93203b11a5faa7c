"""Mail to people: in which language, and its frame: whom it is for, the greeting, and who signs it."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from functools import partial

from policy.accounts.account import Account
from policy.languages import TextLanguage, load_texts, spoken

wrap = partial(textwrap.wrap, break_on_hyphens=False)  # "E-Mail" and "opt-in" stay on one line


def language_of(account: Account) -> TextLanguage:
    """Return the language of the account's first identity that is supported, or the default."""
    return spoken(*(identity.language for identity in account.identities))


def framed(lines: Sequence[str], language: TextLanguage, issuer: str, addressee: str = "") -> str:
    """Return the text of a mail. ``issuer``: who runs the service. Raises ConfigError."""
    words = load_texts()[language].correspondence
    head = [addressee, ""] if addressee else []
    body = "\n".join(lines).strip("\n")
    return "\n".join([*head, words.greeting, "", body, "", words.closing, "", words.desk, issuer]) + "\n"

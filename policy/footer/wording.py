"""What the notices say, in each language: the identity registered for an account, and the link to unsubscribe."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC
from functools import cache

from policy.accounts.account import Identity
from policy.footer.notice import Notice, Run
from policy.imprint.registers import court_of
from policy.languages import TextLanguage, load_texts, spoken
from policy.local_format import LocalFormat

_GERMAN = re.compile(r"\b(?:HR[AB]|GnR|PR|VR|GsR)(?![^\W\d_])", re.IGNORECASE)


def imprint_notice(identities: Sequence[Identity]) -> Notice:
    """Return all that is registered, in the languages that it is registered in; the first one is the fallback."""
    return Notice("imprint", {identity.language: _imprint(identity) for identity in identities})


def _imprint(identity: Identity) -> tuple[Run, ...]:
    texts = load_texts()[spoken(identity.language)].notices
    place = " ".join(filter(None, (identity.postcode, identity.city)))
    said = [
        identity.names[0],
        ", ".join(filter(None, (identity.street, place, _country(identity)))),
        identity.phone,
        identity.email,
        _registration(identity),
        f"{texts.vat} {identity.vat}" if identity.vat else "",
        f"{texts.represented} {identity.representative}" if identity.representative else "",
    ]
    return tuple(Run(" ".join(text.split())) for text in said if text.strip())


@cache
def _formats(language: TextLanguage) -> LocalFormat:
    return LocalFormat(language, UTC)


def _country(identity: Identity) -> str:
    return _formats(spoken(identity.language)).country(identity.country)


def _registration(identity: Identity) -> str:
    """Return the register and the number there, as they are customarily written: "HRA 9876, Aachen"."""
    if not identity.number:
        return ""
    section = _GERMAN.search(f"{identity.register} {identity.number}")
    if section is None:
        return f"{identity.register} {identity.number}"
    number = _GERMAN.sub("", identity.number).strip()
    return f"{section[0]} {number}, {court_of(identity.register)}".rstrip(", ")


def unsubscribe_notice(url: str, fallback: str) -> Notice:
    """Return the link in the known languages; ``fallback``: the one for a text that says none of them."""
    texts, first = load_texts(), spoken(fallback)
    wordings = {}
    for each in (first, *texts):
        words = texts[each]
        wordings[each.value] = (Run(words.notices.unsubscribe, url), Run(words.preferences.link, f"{url}?choose"))
    return Notice("unsubscribe", wordings)

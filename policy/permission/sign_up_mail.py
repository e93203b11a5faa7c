"""Write the mail that asks a person to confirm a sign-up. It advertises nothing: it says what was asked for, and from
where, and what to do, in the language of the form.

Invariants: nothing that the visitor of the form typed is repeated.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo

from mta.mail.reply import sanitise
from policy.accounts.account import Account, Identity
from policy.correspondence import wrap
from policy.languages import load_texts, spoken
from policy.local_format import LocalFormat

WIDTH = 76
NAMES = 300  # characters


@dataclass(frozen=True, slots=True)
class ConfirmationRequest:
    """What the mail is about. ``page``: where the form is; ``statement``: what was agreed to; ``topics``: their labels;
    ``link``: to our page with the button, good until ``until``."""

    language: str
    page: str
    topics: Sequence[str]
    statement: str
    sponsors: Sequence[str]
    at: datetime
    link: str
    until: datetime


def write_request(asked: ConfirmationRequest, account: Account, zone: tzinfo) -> tuple[str, str]:
    """Return the subject and the text. Raises ConfigError."""
    language = spoken(asked.language)
    words, local = load_texts()[language].sign_up, LocalFormat(language, zone)
    identity = identity_for(account, asked.language)
    sender = sanitise(identity.names[0] if identity and identity.names else account.registered_name, NAMES)
    topics = sanitise(local.join(asked.topics), NAMES)
    intro = words.mail_intro.format(at=local.moment(asked.at), page=asked.page, sender=sender, topics=topics)
    paragraphs = [_wrapped(intro), _wrapped(words.mail_statement), _wrapped(local.quote(asked.statement))]
    if asked.sponsors:
        sponsors = sanitise(local.join(asked.sponsors), NAMES)
        paragraphs.append(_wrapped(words.mail_sponsors.format(sponsors=sponsors)))
    paragraphs += [
        _wrapped(words.mail_ask),
        asked.link,
        _wrapped(words.mail_until.format(until=local.moment(asked.until))),
        _wrapped(words.mail_not_you),
    ]
    if identity:
        paragraphs.append("\n".join(_imprint(identity, local)))
    return words.mail_subject.format(sender=sender), "\n\n".join(paragraphs) + "\n"


def identity_for(account: Account, language: str) -> Identity | None:
    """Return the account's identity in ``language``, else its first one."""
    return next((each for each in account.identities if each.language == language), None) or next(
        iter(account.identities), None
    )


def _wrapped(text: str) -> str:
    return "\n".join(line for part in text.splitlines() for line in (wrap(part, WIDTH) or [""]))


def _imprint(identity: Identity, local: LocalFormat) -> list[str]:
    lines = [
        *identity.names[:1],
        identity.street,
        f"{identity.postcode} {identity.city}".strip(),
        local.country(identity.country) if identity.country else "",
        f"{identity.register} {identity.number}".strip(),
        identity.email,
        identity.phone,
    ]
    return ["-- ", *(sanitise(line, NAMES) for line in lines if line)]

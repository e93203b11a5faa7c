"""What an account's review needs: identity, contact, accepted terms, and the origin of its lists.

Invariants: an account without terms, identity or domain, or with an impossible number, is never complete.

Limitations: checks that data is present, not that it is true: that is the reviewer's task.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from shlex import quote

from policy.accounts.account import Account, Identity
from policy.imprint.legal_notice import wrong_numbers


class Matter(Enum):
    """What is missing."""

    PROFILE = "profile"
    CONTACT = "contact"
    DOMAIN = "domain"
    CREDENTIAL = "credential"
    TERMS = "terms"
    IDENTITY = "identity"
    LIST = "list"


@dataclass(frozen=True, slots=True)
class Lack:
    """``text`` says what is missing, ``remedy`` which command fixes it."""

    matter: Matter
    text: str
    remedy: str


def lacks(
    account: Account, *, may_submit: bool, marketing: bool | None, terms: str, sources: Sequence[str]
) -> tuple[Lack, ...]:
    """What is missing before the account can do all that its profile allows.

    ``may_submit``: it has a credential or a network. ``marketing``: whether its profile has that stream, None if there
    is no such profile. ``terms``: the version in force. ``sources``: the names of the lists whose origin was told.
    """
    found = [_contact(account), *_domains(account), _credential(account, may_submit)]
    if marketing is None:
        remedy = f"mta account set {quote(account.name)} --profile NAME"
        found.insert(0, Lack(Matter.PROFILE, f"there is no profile {account.profile!r}", remedy))
    if marketing:
        found += [_terms(account, terms), *_identities(account), *_lists(account, sources)]
    return tuple(each for each in found if each is not None)


def _contact(account: Account) -> Lack | None:
    if account.contact:
        return None
    return Lack(Matter.CONTACT, "no contact is named", f"mta account set {quote(account.name)} --contact ADDRESS")


def _domains(account: Account) -> list[Lack]:
    if not account.domains | account.unverified:
        return [Lack(Matter.DOMAIN, "it has no sender domain", f"mta account domain add {quote(account.name)} DOMAIN")]
    return [
        Lack(Matter.DOMAIN, f"{domain} is not verified", f"mta account domain verify {quote(account.name)} {domain}")
        for domain in sorted(account.unverified)
    ]


def _credential(account: Account, may_submit: bool) -> Lack | None:
    if may_submit:
        return None
    return Lack(Matter.CREDENTIAL, "it cannot log in", f"mta account credential add {quote(account.name)}")


def _terms(account: Account, terms: str) -> Lack | None:
    if account.terms and account.terms.version == terms:
        return None
    said = f"version {account.terms.version} of the terms was accepted, not {terms}" if account.terms else ""
    return Lack(
        Matter.TERMS,
        said or f"version {terms} of the terms was not accepted",
        f"mta account terms {quote(account.name)} --by PERSON",
    )


def _identities(account: Account) -> list[Lack]:
    remedy = f"mta account identity set {quote(account.name)}"
    if not account.identities:
        return [Lack(Matter.IDENTITY, "its legal identity is not registered", f"{remedy} LANGUAGE --name ...")]
    return [
        Lack(
            Matter.IDENTITY,
            f"its identity in {each.language} lacks {', '.join(parts)}",
            f"{remedy} {each.language} ...",
        )
        for each in account.identities
        if (parts := _missing_parts(each))
    ] + [
        Lack(Matter.IDENTITY, f"its identity in {each.language} {fault}", f"{remedy} {each.language} ...")
        for each in account.identities
        for fault in wrong_numbers(each)
    ]


def _missing_parts(identity: Identity) -> list[str]:
    """What every imprint law asks for: a name, a full address, and one way at least to reach its owner."""
    parts = [name for name in ("street", "postcode", "city", "country") if not getattr(identity, name)]
    if not identity.names:
        parts.insert(0, "a name")
    if not (identity.phone or identity.email):
        parts.append("a phone number or e-mail address")
    return parts


def _lists(account: Account, sources: Sequence[str]) -> list[Lack]:
    if not sources:
        return [
            Lack(
                Matter.LIST,
                "where its lists come from is not told",
                f"mta account source add {quote(account.name)} LIST ...",
            )
        ]
    return [
        Lack(
            Matter.LIST,
            f"the origin of list {name!r} is not approved",
            f"mta account source approve {quote(account.name)} {quote(name)}",
        )
        for name in sources
        if name not in account.lists
    ]

"""Opt-in: marketing mail goes only to recipients who agreed to it, with proof.

Limitations: at RCPT the topic is unknown, so any valid consent is accepted; the complete message is judged again with
its topic.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal, assert_never

from pydantic import Field

from config.types import Section
from mta.mail.reply import Reply
from policy.accounts.account import Account
from policy.base import Facts, Pass, RecipientFacts, Refuse, Verdict
from policy.permission.consent import (
    EVERY_TOPIC,
    UNACCEPTABLE,
    Absent,
    Basis,
    Consent,
    Holds,
    Incomplete,
    Judgement,
    Lapsed,
    OffTopic,
    OtherGoods,
    Revoked,
    Sign,
    Terms,
    Unacceptable,
    goods,
    judge,
)
from policy.permission.evidence import NEEDED, Requirement
from policy.rule_context import RuleContext

BasisName = Literal["double_opt_in", "purchase", "business_card", "offline_form", "co_registration", "relation"]
SignName = Literal["delivered", "click", "purchase"]
EvidenceName = Literal[
    "source_url", "ip", "confirmed_at", "statement", "statement_mail", "statement_sender", "statement_subject",
    "not_preticked", "document", "purchase", "category", "objection_offered", "sponsors", "collector", "relation",
    "informed",
]  # fmt: skip


class OptIn:
    name = "opt_in"

    class Settings(Section):
        """Which consents count, and for how long."""

        bases: list[BasisName] = Field(
            ["double_opt_in", "purchase", "business_card", "offline_form", "co_registration"]
        )
        """Accepted bases; `relation`, which is no express consent, only if named here. Bought, rented, copied, verbal
        and unconfirmed ones are never accepted."""
        third_party: Literal["deny", "allow_with_proof"] = "deny"
        """Consent given to a third party: never, or if its collector is named and its document kept."""
        lapse_months: Annotated[int, Field(ge=0, le=600)] = 18
        """Calendar months without contact after which a consent lapses; 0: never."""
        renewed_by: list[SignName] = Field(["delivered", "click", "purchase"])
        """What counts as contact: a delivered message, a click, a purchase."""
        waived: list[EvidenceName] = Field([])
        """Evidence that is not required, e.g. ["ip"]."""
        observed: list[EvidenceName] = Field([])
        """Evidence whose lack is only recorded with the message, e.g. ["statement_subject"], to see what requiring it
        would refuse."""
        statement_names: Literal["anyone", "account"] = "anyone"
        """Whom a statement names as the sender: any name ("we" on a form of one's own counts), or, if it names one, a
        name or domain of the `account`."""
        own_site: bool = False
        """Whether the form of a double opt-in must be on a verified domain of the account, or a subdomain."""

    def __init__(self, settings: Settings, context: RuleContext) -> None:
        bases = {Basis(name) for name in settings.bases}
        if settings.third_party == "allow_with_proof":
            bases.add(Basis.THIRD_PARTY)
        self._terms = Terms(
            frozenset(bases),
            settings.lapse_months or None,
            frozenset(Sign(name) for name in settings.renewed_by),
            frozenset(settings.waived) | frozenset(settings.observed),
        )
        self._observed = frozenset(settings.observed) - frozenset(settings.waived)
        self._own_site = settings.own_site
        self._own_name = settings.statement_names == "account"
        self._similar_goods = "category" not in settings.waived

    def on_recipient(self, recipient: RecipientFacts, facts: Facts, now: datetime) -> tuple[Verdict, str]:
        category = self._category(facts)
        judgement = judge(recipient.consents, facts.topic, now, self._terms, category)
        if isinstance(judgement, Holds):
            fault = self._foreign(judgement.consent, facts.account)
            if fault is None:
                return Pass(), _proof(judgement) + self._noted(judgement.consent)
        else:
            fault = _fault(judgement, self._terms, category)
        about = "" if facts.topic is None else f' for topic "{facts.topic}"'
        return Refuse(Reply(550, "5.7.1", f"opt_in: consent of <{recipient.address}>{about} {fault}")), ""

    def _category(self, facts: Facts) -> str | None:
        """Return the kind of goods that the message is about: its mailing's, or else its topic; None before that is
        known."""
        if facts.topic is None or not self._similar_goods:
            return None
        return (facts.mailing.category if facts.mailing else "") or facts.topic

    def _noted(self, consent: Consent) -> str:
        """Return what is observed about a consent that holds, as the end of its evidence."""
        missing = [name for name in consent.missing if name in self._observed]
        names = f', statement names "{sender}"' if (sender := consent.facts.get("sender")) else ""
        return (f", not proved: {', '.join(missing)}" if missing else "") + names

    def _foreign(self, consent: Consent, account: Account) -> str | None:
        """What is wrong with where it was given, if it was not given to this account."""
        if consent.basis is Basis.CO_REGISTRATION and "sponsors" not in self._terms.waived:
            sponsors = {name.casefold() for name in consent.facts.get("sponsors", "").splitlines()}
            names = {account.name, *(name for identity in account.identities for name in identity.names)}
            if not sponsors & {name.casefold() for name in names}:
                return f"was given to sponsors that do not include {account.name}; remove the address"
        if self._own_name and (sender := consent.facts.get("sender")) and not _is_named(sender, account):
            return (
                f'names "{sender}" as the sender, which is no name of the account; register it, or remove the address'
            )
        if self._own_site and consent.basis is Basis.DOUBLE_OPT_IN:
            host = consent.facts.get("source_host", "")
            if not any(host == domain or host.endswith("." + domain) for domain in account.domains):
                return f'was given on "{host}", no verified domain of the account; verify it, or remove the address'
        return None


def _is_named(sender: str, account: Account) -> bool:
    """Return whether a statement's sender is the account by now: names are registered after consents, too."""
    return any(goods(sender) in goods(name) for name in account.known_names)


def _fault(judgement: Judgement, terms: Terms, category: str | None) -> str:
    """Return the fact and the remedy."""
    match judgement:
        case Absent():
            return "is not recorded; record it with its evidence, or remove the address"
        case OffTopic(()):
            return "is not recorded; record it with its evidence, or remove the address"
        case OffTopic(topics):
            return f"is not recorded, only for {_quoted(topics)}; mail about that, or remove the address"
        case Revoked(_, at):
            return f"was revoked {at:%Y-%m-%d}; remove the address"
        case Unacceptable(consent) if consent.basis in UNACCEPTABLE:
            return f"is not accepted: {UNACCEPTABLE[consent.basis]}; remove the address"
        case Unacceptable(consent):
            return f"is not accepted: this profile does not take {consent.basis.value}; ask for a double opt-in"
        case OtherGoods(consent):
            return (
                f'is for "{consent.facts.get("category", "")}" ({consent.basis.value}) and the mailing is about '
                f'"{category}"; give the mailing that category (mta mailing add --category), or remove the address'
            )
        case Incomplete(_, missing):
            needed = ", ".join(NEEDED[Requirement(name)] for name in missing)
            return f"is not proved: missing is {needed}; record it again with that, or remove the address"
        case Lapsed(_, at):
            return f"lapsed {at:%Y-%m-%d} ({terms.lapse_months} months without contact); renew it or remove the address"
        case Holds():
            raise ValueError("a consent that holds has no fault")
        case _:
            assert_never(judgement)


def _proof(holds: Holds) -> str:
    consent, until = holds.consent, holds.until
    since = "confirmed" if consent.confirmed_at else "given"
    lapse = f", until {until.date()}" if until else ""
    return f"ledger entry {consent.entry}: {consent.basis.value}, {since} {consent.effective_at.date()}{lapse}"


def _quoted(topics: tuple[str, ...]) -> str:
    return ", ".join("purchases it does not name" if topic == EVERY_TOPIC else f'"{topic}"' for topic in topics[:5])

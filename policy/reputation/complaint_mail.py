"""Write mail to accounts about complaints: which mailing, whose complaint, what must be answered, and by when.

The texts are in ``config/languages``; the account's identity decides which language is written.

Invariants: The text of a complaint never becomes a header field. A mail says so if it could not hold every dossier.

Limitations: In a mail about very many cases only the first ``DOSSIERS`` have their dossier attached, and of these the
first ``PDFS`` as PDF too.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo
from typing import Any

from mta.mail.address import Address, AddressError
from mta.mail.reply import sanitise
from policy.accounts.account import Account
from policy.correspondence import framed, language_of, wrap
from policy.languages import TextLanguage, load_texts
from policy.local_format import LocalFormat
from policy.permission.dossier import DossierTooLong, Writer, dossier_of_case, list_topics
from policy.permission.evidence import load_assessor
from policy.reputation.complaint import Case, ComplaintCause, Occasion

DOSSIERS, PDFS = 20, 5  # attached to one mail
MAX_ATTACHED = 4_000_000  # octets
MAX_PRINTED = 200_000  # octets of JSON that are made a PDF: about a hundred pages
LABEL = 28  # columns
WIDTH = 78
SUBJECT = 200  # characters
_BETWEEN = re.compile(r"[\s<>(),;]+")  # between the parts of a contact such as "Ann Lee, ann@shop.example"


@dataclass(frozen=True, slots=True)
class AttachedFile:
    """A file of the type ``application/SUBTYPE``."""

    name: str
    subtype: str
    content: bytes


@dataclass(frozen=True, slots=True)
class ComplaintMail:
    """A mail about cases of one account. ``attachments``: what the ledger says of each recipient, as PDF and JSON."""

    language: TextLanguage
    subject: str
    text: str
    attachments: tuple[AttachedFile, ...] = ()


class ComplaintMailWriter:
    """Writes complaint mail, with times in ``zone``, signed by ``issuer``. Built once: loads the texts. Raises
    ConfigError."""

    def __init__(self, zone: tzinfo, issuer: str) -> None:
        self._texts, self._zone, self._issuer = load_texts(), zone, issuer

    def write(self, occasion: Occasion, cases: Sequence[Case], account: Account, remark: str = "") -> ComplaintMail:
        """Write the mail about ``cases``, at least one, of ``account``, to whoever stands behind it."""
        language = language_of(account)
        words, local = self._texts[language].letters, LocalFormat(language, self._zone)
        dues = [case.due_at for case in cases if case.due_at]
        filled = {"cases": numbers(cases), "due": local.moment(min(dues)) if dues else "", "remark": remark}
        subject = words.subjects[occasion.value].format(**filled)
        opening = words.openings[occasion.value].format(**filled)
        known = {case.number: case.dossier for case in cases if case.dossier} if occasion.asks else {}
        attachments, is_complete = self._attached(known, account, local)
        lines = [*wrap(opening, WIDTH), ""]
        for case in cases:
            for label, fact in self._facts(case, local):
                lines += _labelled(words.labels[label], fact)
            lines.append("")
        if occasion.asks:
            lines += [words.ask, "-" * len(words.ask)]
            for n, question in enumerate(words.questions, 1):
                lines += wrap(question, WIDTH, initial_indent=f"{n}. ", subsequent_indent="   ")
            lines += ["", *wrap(words.reply, WIDTH)]
            if attachments:
                lines += wrap(words.attached, WIDTH)
            if not is_complete:
                lines += wrap(words.left_out, WIDTH)
        text = framed(lines, language, self._issuer, account.registered_name)
        return ComplaintMail(language, sanitise(" ".join(subject.split()), SUBJECT), text, attachments)

    def _attached(
        self, dossiers: Mapping[str, Mapping[str, Any]], account: Account, local: LocalFormat
    ) -> tuple[tuple[AttachedFile, ...], bool]:
        """Return the dossiers, by the number of their case, as files, and whether they are all there."""
        writer = Writer(local, load_assessor(), self._issuer)
        files: list[AttachedFile] = []
        for n, (number, dossier) in enumerate(list(dossiers.items())[:DOSSIERS]):
            content = json.dumps(dossier, ensure_ascii=False, indent=2).encode()
            if n < PDFS and len(content) <= MAX_PRINTED:
                try:
                    printed = writer.pdf([dossier_of_case(dossier, account)])
                    files.append(AttachedFile(f"{number}.pdf", "pdf", printed))
                except DossierTooLong:
                    pass
            files.append(AttachedFile(f"{number}.json", "json", content))
        kept, size = [], 0
        for file in files:
            if size + len(file.content) <= MAX_ATTACHED:
                kept.append(file)
                size += len(file.content)
        return tuple(kept), {each.name for each in kept} >= {f"{number}.json" for number in dossiers}

    def _facts(self, case: Case, local: LocalFormat) -> Iterator[tuple[str, str]]:
        words = self._texts[local.language].letters
        yield "case", case.number
        if case.mailing:
            yield "mailing", f"{case.mailing_name} ({case.mailing})" if case.mailing_name else case.mailing
        if case.address:
            yield "recipient", case.address
        yield "source", words.sources[case.source.value]
        yield "received", local.moment(case.opened_at)
        if case.complaints > 1:
            yield "count", str(case.complaints)
        if case.cause:
            yield "cause", self._cause(case.cause, local)
        elif case.summary:
            yield "said", local.quote(case.summary)
        if case.dossier is not None:
            yield "consent", "; ".join(self._consents(case.dossier, local)) or words.nothing
        if case.due_at and not case.waits_for_desk:
            yield "due", local.moment(case.due_at)

    def _consents(self, dossier: Mapping[str, Any], local: LocalFormat) -> Iterator[str]:
        words = self._texts[local.language].dossier
        for each in dossier["consents"]:
            given = local.day(datetime.fromisoformat(each["given_at"]))
            yield f"{words.bases[each['basis']]}, {given} ({list_topics(each['topics'], local)})"

    def _cause(self, cause: ComplaintCause, local: LocalFormat) -> str:
        return (
            self._texts[local.language]
            .letters.causes[cause.kind.value]
            .format(**{name: _written(fact, local) for name, fact in cause.facts.items()})
        )


def desk_reminder(cases: Sequence[Case]) -> ComplaintMail:
    """Write to the desk about answers that wait for its decision; in English, as all that operators read."""
    lines = wrap(
        "The accounts have answered, and their clocks stand still until you decide: mta complaint accept CASE --text "
        "TEXT, or mta complaint reject CASE --reason TEXT.",
        WIDTH,
    )
    for case in cases:
        since = f", answered {_moment(case.answered_at)}" if case.answered_at else ""
        lines += ["", f"{case.number}: {case.state.value}, account {case.account}{since}"]
    return ComplaintMail(TextLanguage.EN, f"{numbers(cases)} answer waits for your decision", "\n".join(lines) + "\n")


def contacts_of(account: Account) -> tuple[Address, ...]:
    """Return the addresses for complaint mail: the account's contact, then those of its identities."""
    found: list[Address] = []
    for text in (account.contact, *(identity.email for identity in account.identities)):
        for word in _BETWEEN.split(text):
            try:
                found.append(Address.parse(word))
            except AddressError:
                continue
    return tuple(dict.fromkeys(found))


def numbers(cases: Sequence[Case]) -> str:
    """Return the numbers of the cases of one letter for its subject: ``[C-17 +4]``."""
    first = cases[0].number
    return f"[{first}]" if len(cases) == 1 else f"[{first} +{len(cases) - 1}]"


def _written(fact: str | int | float, local: LocalFormat) -> str:
    match fact:
        case int():
            return local.number(fact)
        case float():
            return local.share(fact)
        case _:
            return fact


def _labelled(label: str, fact: str) -> list[str]:
    heads = wrap(fact, WIDTH - LABEL) or [""]
    return [f"{head:{LABEL}}{piece}".rstrip() for head, piece in zip([label, *[""] * len(heads)], heads, strict=False)]


def _moment(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M} UTC"

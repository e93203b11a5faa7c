"""Everything that people read, rendered in every language: all filled in, no other language, no names of the code."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from html import unescape
from zoneinfo import ZoneInfo

import pytest

from mta.mail.address import Address
from mta.queue.dsn import dsn_words
from mta.queue.dsn_message import DsnKind
from mta.web.recipient_pages import LinkSubject, Page, Pages
from policy.accounts.account import Account, Identity
from policy.base import Suppression
from policy.footer.wording import imprint_notice, unsubscribe_notice
from policy.languages import TextLanguage, leaves, load_texts
from policy.local_format import LocalFormat
from policy.permission.consent import Basis, Consent, Sign
from policy.permission.dossier import Dossier, LedgerProof, Writer, as_json
from policy.permission.evidence import Requirement, load_assessor
from policy.permission.ledger import EntryKind
from policy.permission.suppression import Reason
from policy.reputation.complaint import Case, CaseState, ComplaintCause, ComplaintCauseKind, Occasion, Source
from policy.reputation.complaint_mail import ComplaintMailWriter
from policy.reputation.complaint_receipt import ReceiptKind, write_receipt

ZONE = ZoneInfo("Europe/Amsterdam")
NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
PAGES = Pages.load()
LETTERS = ComplaintMailWriter(ZONE, "Postkantoor")


def account(language: TextLanguage) -> Account:
    identity = Identity(
        language.value, ("Zeilmakerij Huizinga",), "Kade 1", "1621 AB", "Hoorn", "NL", "+31 229 000000", "",
        "KvK", "12345678", "NL123456782B01", "J. Huizinga",
    )  # fmt: skip
    return Account(1, "zeil", frozenset(), identities=(identity,))


def dossier(language: TextLanguage) -> Dossier:
    """Every kind of entry, basis, state, reason and gap."""

    def entry(kind: EntryKind, said: dict[str, object] | None) -> LedgerProof:
        return LedgerProof(7, NOW, kind, bytes(32), said)

    times = {"given_at": NOW.isoformat(), "confirmed_at": NOW.isoformat()}
    known: dict[str, object] = {
        "by": "app7", "topics": ["zeil", "*"], "source_url": "https://zeil.example/f", "ip": "192.0.2.1",
        "confirm_ip": "192.0.2.2", "statement_version": "7", "preticked": False, "objection_offered": True,
        "language": "nl", "sponsors": ["Touw"], "document": "0" * 64, "purchase": "7", "collector": "Touw",
    }  # fmt: skip
    gaps = tuple(need.value for need in Requirement)
    long_ago = NOW - timedelta(days=900)
    return Dossier(
        "rita@zeil.example",
        account(language),
        NOW,
        (
            *(entry(EntryKind.GIVEN, {**known, **times, "basis": basis.value}) for basis in Basis),
            entry(EntryKind.GIVEN, {"by": "service", "topics": ["zeil"], "basis": Basis.DOUBLE_OPT_IN.value}),
            *(entry(EntryKind.RENEWED, {"sign": sign.value, "seen_at": NOW.isoformat()}) for sign in Sign),
            *(
                entry(EntryKind.REVOKED, {"by": "the recipient", "topic": "*", "reason": reason.value})
                for reason in Reason
            ),
            entry(EntryKind.GIVEN, None),
            entry(EntryKind.ERASED, {"by": "app7"}),
        ),
        (
            Consent(Basis.DOUBLE_OPT_IN, frozenset({"a"}), NOW, NOW, 1, (), NOW, None, {}, NOW, NOW),
            Consent(Basis.DOUBLE_OPT_IN, frozenset({"b"}), long_ago, None, 1),
            Consent(Basis.DOUBLE_OPT_IN, frozenset({"c"}), NOW, None, 1, gaps),
            *(Consent(basis, frozenset({basis.value[0]}), NOW, None, 1) for basis in Basis),
            Consent(Basis.OBJECTION, frozenset({"d"}), NOW, None, 1, (), None, NOW),
        ),
        tuple(Suppression(Address("r", "zeil.example"), 1, reason, "x", NOW) for reason in Reason),
    )


def letters(language: TextLanguage) -> Iterator[str]:
    facts = {"list": "zen.example", "subject": "192.0.2.1", "answer": "127.0.0.2", "by": "zeil.example"}
    numbers = {"cases": 1200, "volume": 150_000, "rate": 0.008, "ceiling": 0.0025}
    known = Case(
        12, 1, "zeil", Source.RECIPIENT, CaseState.SENT, "x", "???", NOW, mailing="7", mailing_name="zeil",
        address="rita@zeil.example", complaints=3, due_at=NOW,
    )  # fmt: skip
    ledger = as_json(replace(dossier(language), proofs=()))
    cases = [
        replace(known, dossier=ledger),
        replace(known, id=13, dossier=ledger | {"filler": "x" * 5_000_000}),  # not attached, which the letter says
        *(replace(known, source=source, dossier=ledger | {"consents": []}) for source in Source),
        *(replace(known, cause=ComplaintCause(kind, facts | numbers)) for kind in ComplaintCauseKind),
    ]
    for occasion in Occasion:
        letter = LETTERS.write(occasion, cases if occasion is Occasion.COMPLAINT else [known], account(language), "§ 7")
        yield f"{letter.subject}\n\n{letter.text}"


def receipts(language: TextLanguage) -> Iterator[str]:
    for kind in ReceiptKind:
        yield "\n\n".join(write_receipt(kind, language, "Postkantoor", senders=["Zeil", "Touw"], case="C-7"))


def pages(language: TextLanguage) -> Iterator[str]:
    about = LinkSubject.of(account(language), "")
    for page in Page:
        html = PAGES.respond(page, language.value, about=about).body.decode()
        yield words_of(html)
    yield words_of(writer(language).html([dossier(language)]))


def words_of(html: str) -> str:
    return unescape(re.sub(r"<[^>]*>", "\n", re.sub(r"(?s)<style>.*?</style>", "", html)))


def writer(language: TextLanguage) -> Writer:
    return Writer(LocalFormat(language, ZONE), load_assessor(), "Postkantoor")


def notices(language: TextLanguage) -> Iterator[str]:
    imprint = imprint_notice(account(language).identities).wordings[language.value]
    link = unsubscribe_notice("https://zeil.example/u/7", language.value).wordings[language.value]
    yield "\n".join(run.text for run in (*imprint, *link))
    words = dsn_words(language, ZONE)
    yield "\n".join([
        words.system.format(host="mx.example"), *(getattr(words, kind.value) for kind in DsnKind),
        words.said.format(host="mx.example", reply="550 5.1.1"), words.reason.format(reply="550 5.1.1"),
        words.expired.format(at=words.moment(NOW)), words.retried.format(at=words.moment(NOW)),
        words.reference.format(id="7"),
    ])  # fmt: skip


MAIL = {language: (*letters(language), *receipts(language)) for language in TextLanguage}
RENDERED = {
    language: (*MAIL[language], *pages(language), *notices(language), writer(language).text([dossier(language)]))
    for language in TextLanguage
}
OTHERS = [each for each in TextLanguage if each is not TextLanguage.EN]

# English words, and those of them that the language has too.
ENGLISH = frozenset(
    [
        "the",
        "of",
        "and",
        "to",
        "in",
        "is",
        "was",
        "are",
        "be",
        "been",
        "has",
        "have",
        "had",
        "with",
        "your",
        "you",
        "our",
        "we",
        "not",
        "no",
        "on",
        "at",
        "by",
        "for",
        "from",
        "this",
        "that",
        "it",
        "its",
        "any",
        "or",
        "if",
        "will",
        "has",
        "which",
        "who",
        "about",
        "after",
        "before",
        "but",
        "only",
        "there",
        "their",
        "they",
        "them",
        "until",
        "since",
        "please",
        "nothing",
        "none",
        "complaint",
        "complaints",
        "consent",
        "address",
        "sender",
        "recipient",
        "account",
        "case",
        "mailing",
        "message",
        "messages",
        "page",
        "entry",
        "given",
        "withdrawn",
        "revoked",
        "missing",
        "blocked",
        "box",
        "click",
        "purchase",
        "unsubscribe",
        "unsubscribed",
        "topic",
        "topics",
        "newsletter",
        "email",
        "list",
        "blocklist",
        "provider",
        "operator",
        "service",
        "reason",
        "answer",
        "reply",
        "sent",
        "received",
        "delivered",
        "yes",
    ]
)
ALSO = {
    TextLanguage.NL: ["is", "of", "in", "was", "we", "account", "mailing", "provider"],
    TextLanguage.DE: ["in", "an", "was", "at", "mailing", "newsletter"],
    TextLanguage.FR: ["on", "page", "case", "service", "message", "messages"],
    TextLanguage.ES: ["no", "has"],
}
NAMES = re.compile(r"Certified Senders Alliance|[Dd]ouble[ -][Oo]pt-in|\S+@\S+|https?://\S+")
INFORMAL = {
    TextLanguage.NL: r"je|jij|jou|jouw|jullie",
    TextLanguage.DE: r"du|dich|dir|dein\w*|euch|euer|eure\w*",
    TextLanguage.FR: r"tu|toi|ton|ta|tes|te",
    TextLanguage.ES: r"tú|tu|tus|te|ti|vosotr[oa]s|os|vuestr\w+",
}
FORMAL = {
    TextLanguage.EN: r"[Yy]ours?|[Yy]ou",
    TextLanguage.NL: r"[Uu]w?",
    TextLanguage.DE: r"Sie|Ihnen|Ihr\w*",
    TextLanguage.FR: r"[Vv]ous|[Vv]otre|[Vv]os",
    TextLanguage.ES: r"usted|[Ss]us?|suya|[Ll]e",
}


@pytest.mark.parametrize("language", TextLanguage)
def test_nothing_is_left_to_fill_in_and_nothing_is_written_for_programs(language: TextLanguage) -> None:
    for text in RENDERED[language]:
        assert not re.search(r"[{}$]|\bNone\b|\bTrue\b|\bFalse\b|<\w", text), text
        assert not re.search(r"\b[a-z0-9]+_[a-z0-9_]+\b", text), "a name of the code"
        assert not re.search(r"\d{4}-\d\d-\d\d", text), "a time that no one writes so"


@pytest.mark.parametrize("language", OTHERS)
def test_no_english_in_another_language(language: TextLanguage) -> None:
    for text in RENDERED[language]:
        words = set(re.findall(r"(?<![\w’-])[a-z]+(?![\w-])", NAMES.sub("", text).lower()))
        assert not sorted(words & (ENGLISH - set(ALSO[language])))


@pytest.mark.parametrize("language", TextLanguage)
def test_readers_are_addressed_formally(language: TextLanguage) -> None:
    for text in MAIL[language]:
        assert re.search(rf"\b(?:{FORMAL[language]})\b", text)
    if language is not TextLanguage.EN:
        for text in RENDERED[language]:
            assert not re.search(rf"(?<![\w’-])(?:{INFORMAL[language]})(?![\w’-])", text), text


@pytest.mark.parametrize("language", TextLanguage)
def test_mail_begins_with_a_greeting_and_ends_with_who_signs_it(language: TextLanguage) -> None:
    words = load_texts()[language].correspondence
    for mail in MAIL[language]:
        assert f"\n\n{words.greeting}\n\n" in mail
        assert mail.endswith(f"\n\n{words.closing}\n\n{words.desk}\nPostkantoor\n")


@pytest.mark.parametrize("language", TextLanguage)
def test_what_stands_inside_a_sentence_has_no_capital(language: TextLanguage) -> None:
    words = load_texts()[language].dossier
    inside = (*words.bases.values(), *words.requirements.values(), *words.states.values(), *words.reasons.values())
    first = {text.split()[0] for text in inside}
    if language is not TextLanguage.DE:  # where nouns have one
        assert all(word.islower() or word.startswith(("IP", "SHA")) for word in first)
    else:
        assert not first & {"Nicht", "Mündlich", "Widerrufen", "Bestehende"}


def test_french_marks_do_not_begin_a_line() -> None:
    for path, text in leaves(load_texts()[TextLanguage.FR].model_dump()):
        assert not re.search(r" [?!:;»]|« ", text), path
    for text in RENDERED[TextLanguage.FR]:
        assert not re.search(r"(?m)^\s*[?!:;»]", text), text


def test_the_country_of_the_imprint_has_its_name_in_the_language() -> None:
    countries = {
        TextLanguage.EN: "Netherlands", TextLanguage.NL: "Nederland", TextLanguage.DE: "Niederlande",
        TextLanguage.FR: "Pays-Bas", TextLanguage.ES: "Países Bajos",
    }  # fmt: skip
    for language, country in countries.items():
        assert f"Kade 1, 1621 AB Hoorn, {country}" in "".join(notices(language))

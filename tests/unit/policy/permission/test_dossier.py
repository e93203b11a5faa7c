"""The dossier: every fact in every language and form, gaps and revocations included."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from zoneinfo import ZoneInfo

import pytest

from mta.mail.address import Address
from policy.accounts.account import Account, Identity
from policy.base import Suppression
from policy.languages import TextLanguage, load_texts
from policy.local_format import LocalFormat
from policy.permission.consent import Basis, Consent, Sign
from policy.permission.dossier import Dossier, LedgerProof, Writer, as_json, dossier_of_case
from policy.permission.evidence import Evidence, Requirement, load_assessor
from policy.permission.ledger import EntryKind
from policy.permission.suppression import Reason

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
GIVEN = {
    "by": "ann, list.csv",
    "address": "ann@example.net",
    "topics": ["offers", "*"],
    "basis": "double_opt_in",
    "given_at": "2026-01-01T10:00:00+00:00",
    "confirmed_at": "2026-01-01T10:05:00+00:00",
    "source_url": "https://shop.example/f",
    "ip": "192.0.2.1",
    "statement": 'Yes, Shop Ltd may mail me offers <script>alert("1")</script>',
    "preticked": False,
}
ACCOUNT = Account(
    1,
    "shop",
    frozenset(),
    identities=(
        Identity("nl", ("Winkel B.V.",), "Kade 1", "1234 AB", "Hoorn", "NL", register="KvK", number="12345678"),
        Identity("en", ("Shop Ltd",)),
    ),
)


def proof(number: int, kind: EntryKind, said: dict[str, object] | None) -> LedgerProof:
    return LedgerProof(number, NOW - timedelta(days=100 - number), kind, bytes([number]) * 32, said)


DOSSIER = Dossier(
    "ann@example.net",
    ACCOUNT,
    NOW,
    (
        proof(1, EntryKind.GIVEN, GIVEN),
        proof(2, EntryKind.GIVEN, {**GIVEN, "ip": "", "preticked": True, "basis": "co_registration"}),
        proof(3, EntryKind.RENEWED, {"by": "shop", "sign": "purchase", "seen_at": "2026-02-01T10:00:00+00:00"}),
        proof(
            4, EntryKind.REVOKED, {"by": "web", "topic": "*", "revoked_at": "2026-03-01T10:00:00+00:00", "reason": "x"}
        ),
        proof(5, EntryKind.GIVEN, None),
        proof(6, EntryKind.ERASED, {"by": "desk", "reason": "asked"}),
    ),
    (
        Consent(Basis.DOUBLE_OPT_IN, frozenset({"offers"}), NOW, NOW, 1, bought_at=NOW),
        Consent(Basis.DOUBLE_OPT_IN, frozenset({"old"}), NOW - timedelta(days=900), None, 1),
        Consent(Basis.OFFLINE_FORM, frozenset({"news"}), NOW, None, 1, ("document",)),
        Consent(Basis.BOUGHT, frozenset({"bought"}), NOW, None, 1),
        Consent(Basis.OBJECTION, frozenset({"gone"}), NOW, None, 4, revoked_at=NOW),
    ),
    (Suppression(Address("ann", "example.net"), 1, Reason.REVOKED, "consent", NOW, "gone"),),
)
assessor = load_assessor()


def writer(language: TextLanguage = TextLanguage.EN) -> Writer:
    return Writer(LocalFormat(language, ZoneInfo("Europe/Amsterdam")), assessor, "Example Mail")


def test_the_text_tells_every_fact() -> None:
    text = writer().text([DOSSIER])
    for fact in (
        "PROOF OF CONSENT",
        "Shop Ltd",
        "it lapses on 1 December 2027",
        "lapsed on ",
        "not fully proven; missing: document on file",
        "basis not accepted: purchased address",
        "withdrawn on 1 June 2026, 14:00:00 (Central European Summer Time)",
        "since 1 June 2026, 14:00:00 (Central European Summer Time): consent",
        "given (double opt-in)",
        "1 January 2026, 11:05:00 (Central European Standard Time)",
        "https://shop.example/f",
        "proof that the box was not ticked in advance",
        "names of the sponsors",
        "The evidence of this entry has been erased.",
        "Entry 4: withdrawal",
        "01" * 32,
    ):
        assert fact in text
    assert max(len(line) for line in text.splitlines()) <= 120


@pytest.mark.parametrize("language", TextLanguage)
def test_every_language_says_everything(language: TextLanguage) -> None:
    text = writer(language).text([DOSSIER])
    assert len(text.splitlines()) > 60
    assert ("Winkel B.V." in text) == (language is not TextLanguage.EN)
    if language is not TextLanguage.EN:
        assert not set(text.splitlines()) & {"Proof of consent", "Current status", "Entry 4: withdrawal"}


def test_every_fact_has_a_label() -> None:
    english = load_texts()[TextLanguage.EN].dossier
    fields = {
        *Evidence.__dataclass_fields__,
        *(kind.value for kind in EntryKind),
    }
    assert fields <= set(english.labels)
    assert {basis.value for basis in Basis} == set(english.bases)
    assert {need.value for need in Requirement} == set(english.requirements)
    assert {reason.value for reason in Reason} == set(english.reasons)
    assert {sign.value for sign in Sign} == set(english.signs)


def test_a_dossier_that_was_kept_with_a_case_is_the_same() -> None:
    kept = dossier_of_case(json.loads(json.dumps(as_json(DOSSIER))), ACCOUNT)
    assert replace(DOSSIER, suppressions=()) == kept


class Outline(HTMLParser):
    """Tags that are open, and everything that would be fetched or run."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.alien: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag != "meta":
            self.open.append(tag)
        self.alien += [tag] if tag in ("script", "link", "img", "iframe") else []
        self.alien += [name for name, _ in attrs if name in ("src", "href") or name.startswith("on")]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.mark.parametrize("language", TextLanguage)
def test_the_page_needs_nothing_from_elsewhere_and_runs_nothing(language: TextLanguage) -> None:
    page = writer(language).html([DOSSIER])
    outline = Outline()
    outline.feed(page)
    assert (outline.open, outline.alien) == ([], [])
    assert f'<html lang="{language.value}">' in page
    assert "&lt;script&gt;" in page


def test_machines_get_all_of_it() -> None:
    record = json.loads(json.dumps(as_json(DOSSIER)))
    assert record["entries"][0]["evidence"] == GIVEN
    assert record["entries"][4]["evidence"] is None
    states = {each["topics"][0]: each["state"] for each in record["consents"]}
    assert states == {
        "offers": "holds",
        "old": "lapsed",
        "news": "incomplete",
        "bought": "unacceptable",
        "gone": "revoked",
    }
    assert record["suppressions"][0]["topic"] == "gone"


def test_nothing_is_said_too() -> None:
    empty = Dossier("ann@example.net", ACCOUNT, NOW, (), (), ())
    assert "Nothing is recorded about this address." in writer().text([empty])

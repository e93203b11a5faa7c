"""Sample mails in five languages, complete and with one thing wrong, against the identities registered for them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis
from hypothesis import strategies as st

from mta.mail.message import Message
from policy.accounts.account import Account, Identity
from policy.accounts.checked_pages import CheckedPage, CheckedPages, shape_of
from policy.accounts.mailing import Mailing
from policy.base import Facts, PageVerdict
from policy.html.web_page import WebPage
from policy.rules.content.imprint import Imprint
from policy.text.message_text import MessageText
from tests.unit.policy import identities as known
from tests.unit.policy.make import CONTEXT, NOW, account, ask, facts, message

SAMPLES = Path(__file__).parents[1] / "samples"
NUMBERS = ["name", "address", "register", "vat"]


def mail(name: str, *changes: tuple[str, str]) -> Message:
    content = (SAMPLES / f"{name}.eml").read_bytes()
    for old, new in changes:
        assert old.encode() in content
        content = content.replace(old.encode(), new.encode())
    return message().with_content(content)


def judge(subject: Message, *identities: Identity, domain: str = "bollenhof.example", **settings: object) -> str:
    sender: Account = account(name="bollenhof", identities=identities, domains=frozenset({domain}))
    return ask(Imprint(Imprint.Settings.model_validate(settings), CONTEXT), subject, facts(sender))


@pytest.mark.parametrize(
    ("name", "identity", "fields", "language"),
    [
        ("nl_text", known.BOLLENHOF, [*NUMBERS, "phone", "email"], "Dutch"),
        ("nl_multipart", known.BOLLENHOF, [*NUMBERS, "phone", "email", "logo"], "Dutch"),
        ("de_html_related", known.WANDERFUCHS, [*NUMBERS, "phone", "email", "representative", "logo"], "German"),
        ("de_text_latin1", known.WANDERFUCHS, [*NUMBERS, "phone", "representative"], "German"),
        ("fr_html", known.CAVE, [*NUMBERS, "phone", "representative"], "French"),
        ("es_text", known.ALMAZARA, [*NUMBERS, "phone"], "Spanish"),
        ("en_multipart", known.MOORWOOL, [*NUMBERS, "phone"], "English"),
    ],
)
def test_a_complete_notice_passes(name: str, identity: Identity, fields: list[str], language: str) -> None:
    assert (
        judge(mail(name), identity, fields=fields)
        == f"pass: the legal notice of {identity.names[0]} shows in {language}"
    )


def test_both_parts_can_be_asked_for() -> None:
    assert judge(mail("nl_multipart"), known.BOLLENHOF, plain_text="require").startswith("pass")
    short = mail("en_multipart", ("Moor and Wool Ltd, 14 Station Road, Leeds LS1 4AB, 020 7946 0123", "Bye"))
    assert judge(short, known.MOORWOOL, plain_text="ignore").startswith("pass")
    refused = judge(short, known.MOORWOOL)
    assert "in the plain text beside the page, the legal notice does not show the name (Moor & Wool Ltd" in refused


def test_one_language_is_enough() -> None:
    assert judge(mail("nl_text"), known.BOLLENHOF_EN, known.BOLLENHOF).endswith("shows in Dutch")


def test_the_answer_is_about_the_language_that_lacks_least() -> None:
    answer = judge(mail("nl_wrong_kvk"), known.BOLLENHOF_EN, known.BOLLENHOF, fields=NUMBERS)
    assert "as registered in Dutch" in answer


def test_what_only_plain_text_carries_is_not_shown() -> None:
    answer = judge(mail("nl_no_imprint_in_html"), known.BOLLENHOF)
    assert "does not show the postal address (Heereweg 245a, 2161 BG Lisse)" in answer


def test_a_wrong_number_is_named_with_the_right_one() -> None:
    assert judge(mail("nl_wrong_kvk"), known.BOLLENHOF, fields=NUMBERS) == (
        "refuse: 550 5.7.1 imprint: the legal notice does not show the KvK number (30124567; the message shows "
        "3012.4576); write it into text that shows, as registered in Dutch for account bollenhof"
    )
    assert "the VAT number (DE298765402)" in judge(mail("de_wrong_vat"), known.WANDERFUCHS, fields=NUMBERS)


@pytest.mark.parametrize(
    ("name", "how"),
    [("nl_hidden_imprint", "the colour of its background"), ("nl_hidden_by_sheet", "outside the screen")],
)
def test_a_hidden_notice_is_none(name: str, how: str) -> None:
    answer = judge(mail(name), known.BOLLENHOF)
    assert (
        "the legal notice does not show the postal address (Heereweg 245a, 2161 BG Lisse, "
        f"which is there but does not show: {how})"
    ) in answer


def test_alternative_text_proves_nothing() -> None:
    answer = judge(mail("nl_imprint_as_picture"), known.BOLLENHOF)
    assert "the name (Bollenhof Lisse B.V., which stands in the alternative text of a picture only)" in answer


def test_somebody_elses_notice_is_refused() -> None:
    answer = judge(mail("nl_other_company"), known.BOLLENHOF, fields=NUMBERS)
    for expected in (
        "Bollenhof Lisse B.V.",
        "Heereweg 245a, 2161 BG Lisse",
        "the message shows 28 09 87 65",
        "NL812345009B01",
    ):
        assert expected in answer


def test_a_link_counts_if_the_profile_says_so_and_it_leads_home() -> None:
    linked = mail("nl_linked_imprint")
    assert judge(linked, known.BOLLENHOF).startswith("refuse")
    assert "is linked (https://www.bollenhof.example/colofon)" in judge(linked, known.BOLLENHOF, linked="accept")
    assert judge(linked, known.BOLLENHOF, linked="accept", domain="elsewhere.example").startswith("refuse")


def test_the_page_of_a_linked_notice_is_judged_as_the_text_is() -> None:
    owner = account(name="bollenhof", identities=(known.BOLLENHOF,), domains=frozenset({"bollenhof.example"}))
    subject, url = mail("nl_linked_imprint"), "https://www.bollenhof.example/colofon"
    fields = ["name", "address", "register"]
    rule = Imprint(Imprint.Settings.model_validate({"linked": "fetch", "fields": fields}), CONTEXT)
    known_facts = facts(owner, reading=MessageText(subject.content))
    assert list(rule.pages(subject, known_facts)) == [url]
    notice = "<p>Bollenhof Lisse B.V.<br>Heereweg 245a<br>2161 BG Lisse<br>KvK 30124567<br>+31 252 550123</p>"
    whole = rule.on_page(WebPage(notice), known_facts)
    assert whole == ("", "it shows the legal notice of Bollenhof Lisse B.V. in Dutch")
    other = rule.on_page(WebPage(notice.replace("30124567", "30124568")), known_facts)
    assert other.fault.startswith("does not show the KvK number (30124567)")

    def seen(verdict: PageVerdict) -> Facts:
        link = CheckedPage("imprint", url, shape_of(url), NOW, url, 200, "", *verdict)
        mailing = Mailing("01jdqv5wzx8z6m0b9k3f2n7t4c", 1, "m", "t", "l", pages=CheckedPages((link,)))
        return facts(owner, mailing=mailing)

    assert "colofon, looked at 2026-11-21)" in ask(rule, subject, seen(whole))
    assert "the page of https://www.bollenhof.example/colofon: does not show" in ask(rule, subject, seen(other))
    assert "was not looked at: confirm the mailing with a message" in ask(rule, subject, facts(owner))


def test_a_post_office_box_is_no_address_unless_the_profile_says_so() -> None:
    box = replace(known.BOLLENHOF, street="Postbus 110", postcode="2160 AC")
    assert "has a post-office box for an address (Postbus 110)" in judge(mail("nl_po_box"), box)
    assert judge(mail("nl_po_box"), box, po_box="accept").startswith("pass")
    assert "the postal address (Heereweg" in judge(mail("nl_po_box"), known.BOLLENHOF)


@pytest.mark.parametrize(
    "street", ["P.O. Box 12", "Postfach 1200", "BP 45", "Boîte postale 45", "Apartado de Correos 9"]
)
def test_post_office_boxes_in_five_languages(street: str) -> None:
    assert "post-office box" in judge(mail("nl_text"), replace(known.BOLLENHOF, street=street))


def test_a_logo_is_a_picture_that_shows_and_no_pixel() -> None:
    assert judge(mail("nl_multipart"), known.BOLLENHOF, fields=["name", "logo"]).startswith("pass")
    pixel = b'Bollenhof Lisse B.V. 0252 550123 <img src="https://beeld.bollenhof.example/open.gif" width=1 height=1>'
    assert "no logo shows" in judge(
        message("Content-Type: text/html\r\n", pixel), known.BOLLENHOF, fields=["name", "logo"]
    )
    assert "no logo shows" in judge(mail("nl_text"), known.BOLLENHOF, fields=["name", "logo"])


def test_phone_or_mail_as_the_profile_asks() -> None:
    silent = mail("nl_text", ("Telefoon 0252 - 55 01 23, klantenservice@bollenhof.example\r\n", ""))
    assert "the phone number or the e-mail address (+31 252 550123 or klantenservice@" in judge(silent, known.BOLLENHOF)
    assert judge(silent, known.BOLLENHOF, any_of=[]).startswith("pass")
    assert judge(mail("nl_text", ("0252 - 55 01 23", "")), known.BOLLENHOF).startswith("pass")


def test_an_account_without_identity_cannot_pass() -> None:
    assert "no identity is registered for account bollenhof" in judge(mail("nl_text"))


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"vat": "NL812345008B01"}, "VAT number that cannot be right: NL812345008B01 has a wrong check digit"),
        ({"number": "3012456"}, "KvK 3012456 is no KvK number: that has 8 digits"),
        ({"street": ""}, "has no postal address"),
        ({"names": ()}, "has no name"),
        ({"phone": "", "email": ""}, "has no phone and no email"),
    ],
)
def test_an_identity_that_is_wrong_itself_is_said_to_be(change: dict[str, object], fault: str) -> None:
    answer = judge(mail("nl_text"), replace(known.BOLLENHOF, **change), fields=NUMBERS)  # type: ignore[arg-type]
    assert answer.startswith("refuse: 550 5.7.1 imprint: the identity registered for account bollenhof")
    assert fault in answer


def test_what_not_everybody_has_is_passed_over() -> None:
    plain = replace(known.BOLLENHOF, vat="", number="", representative="")
    assert judge(mail("nl_text"), plain, fields=[*NUMBERS, "representative"]).startswith("pass")


def test_an_unreadable_page_says_so() -> None:
    crowded = message("Content-Type: text/html\r\nFrom: a@shop.example\r\n", b"<i>" * 6000)
    assert "part of the message could not be read: the HTML has 6000 tags" in judge(crowded, known.BOLLENHOF)


TEXT = st.text(alphabet="aB1 0.,&()+-/@éß\u00ad\u200bЖ中\n", max_size=12)
IDENTITIES = st.builds(
    Identity,
    language=st.sampled_from(["nl", "de", "xx"]),
    names=st.lists(TEXT, max_size=2).map(tuple),
    street=TEXT,
    postcode=TEXT,
    city=TEXT,
    country=st.sampled_from(["", "NL", "DE", "ES"]),
    phone=TEXT,
    email=TEXT,
    register=st.sampled_from(["", "KvK", "HRB Aachen", "Companies House", "Registro", "RCS Paris"]),
    number=TEXT,
    vat=TEXT,
    representative=TEXT,
)


@given(IDENTITIES, TEXT)
@hypothesis(deadline=None)
def test_no_identity_breaks_it(identity: Identity, text: str) -> None:
    fields = [*NUMBERS, "phone", "email", "representative"]
    answer = judge(message("Content-Type: text/html; charset=utf-8\r\n", text.encode()), identity, fields=fields)
    assert answer.startswith(("pass: the legal notice of", "refuse: 550 5.7.1 imprint: the "))


@given(st.integers(0, 7), st.integers(0, 9))
@hypothesis(deadline=None)
def test_no_other_number_is_taken_for_the_registered_one(place: int, digit: int) -> None:
    number = "30124567"
    changed = number[:place] + str(digit) + number[place + 1 :]
    answer = judge(mail("nl_text", ("30 12 45 67", changed)), known.BOLLENHOF, fields=NUMBERS)
    assert answer.startswith("pass" if changed == number else "refuse")

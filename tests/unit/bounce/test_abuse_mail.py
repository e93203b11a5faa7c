"""What people write to the abuse desk, in five languages: what they want, and about which mailing."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as some

from bounce.abuse_mail import AbuseMail, AbuseMailKind, ids_in
from mta.mail.identity import first_id_at, format_id, new_message_id
from mta.service.composition import open_abuse_mail_reader

READER = open_abuse_mail_reader()
NOW = datetime.now(UTC)
MAILING = format_id(new_message_id())
TOKEN = "AQ" + "f7-_Zk" * 20
HEADER = (
    f"Delivered-To: rita@example.net\r\nX-Mailing-ID: {MAILING}\r\nFeedback-ID: {MAILING}:1:marketing:imprimatur\r\n"
    f"List-Unsubscribe: <https://mta.example/u/{TOKEN}>\r\nFrom: shop@shop.example\r\nSubject: Offers\r\n"
)


def mail(text: str, subject: str = "Hello", sender: str = "Rita <rita@example.net>") -> AbuseMail:
    content = (
        f"From: {sender}\r\nTo: abuse@mta.example\r\nSubject: {subject}\r\nContent-Type: text/plain; charset=utf-8\r\n"
        f"Content-Transfer-Encoding: 8bit\r\n\r\n{text}\r\n"
    )
    return READER.read(content.encode(), NOW)


def forwarded(text: str, kind: str = "message/rfc822", name: str = "") -> AbuseMail:
    return READER.read(
        (
            'From: r@example.net\r\nContent-Type: multipart/mixed; boundary="b"\r\n\r\n'
            f"--b\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n{text}\r\n"
            f"--b\r\nContent-Type: {kind}{name}\r\n\r\n{HEADER}\r\nBuy!\r\n--b--\r\n"
        ).encode(),
        NOW,
    )


COMPLAINTS = {
    "nl": (
        "Ik heb me nooit aangemeld voor deze mail en geef geen toestemming. Kenmerk: {id}",
        "Ik wil een klacht indienen over mailing {id}.",
        "Dit is ongewenste e-mail (mailingnummer {id}), hou hiermee op!",
    ),
    "de": (
        "Ich habe mich nie angemeldet und verlange Unterlassung. Kennung: {id}",
        "Hiermit lege ich Beschwerde ein, Mailing-ID {id}.",
        "Unverlangte Werbung ohne meine Einwilligung, siehe {id}",
    ),
    "fr": (
        "Je dépose plainte : je ne me suis jamais inscrit. Numéro d'envoi : {id}",
        "Courriel non sollicité, envoyé sans mon consentement ({id}).",
        "Encore un pourriel de votre part, identifiant du message {id}",
    ),
    "es": (
        "Presento una queja: nunca me suscribí a este boletín. Identificador: {id}",
        "Correo no deseado enviado sin mi consentimiento, número de envío {id}",
        "Voy a presentar una denuncia por el mensaje {id}; no he solicitado nada.",
    ),
    "en": (
        "I never signed up for this. Reference: {id}",
        "This is unsolicited mail, sent without my consent ({id}).",
        "I want to file a complaint about {id}",
    ),
}
WISHES = {
    "nl": "Wilt u mij afmelden en verwijder mijn adres alstublieft.",
    "de": "Bitte löschen Sie meine Adresse aus dem Verteiler.",
    "fr": "Merci de me désinscrire, je ne veux plus recevoir vos lettres.",
    "es": "Quiero darme de baja, no quiero recibir más correos.",
    "en": "Please remove me from your list and stop sending.",
}
OTHERS = (
    "Hoe laat is de winkel zaterdag open?",
    "Könnten Sie mir bitte die Rechnung noch einmal schicken?",
    "Bonjour, à quelle adresse puis-je renvoyer mon colis ?",
    "Buenos días, ¿tienen existencias del modelo azul?",
    "Dear abuse desk, which address shall I use for reports?",
    "Thanks for the quick delivery!",
    "",
)


@pytest.mark.parametrize(
    ("language", "text"), [(language, text) for language, texts in COMPLAINTS.items() for text in texts]
)
def test_a_complaint_is_understood_and_names_its_mailing(language: str, text: str) -> None:
    found = mail(text.format(id=MAILING))
    assert (found.kind, found.language, found.mailings) == (AbuseMailKind.COMPLAINT, language, (MAILING,))
    assert mail(text.format(id=MAILING.upper())).mailings == (MAILING,)


@pytest.mark.parametrize(("language", "text"), WISHES.items())
def test_a_wish_for_no_more_mail_is_no_complaint(language: str, text: str) -> None:
    found = mail(text)
    assert (found.kind, found.language, found.mailings) == (AbuseMailKind.OPT_OUT, language, ())


@pytest.mark.parametrize("text", OTHERS)
def test_anything_else_is_for_people_to_read(text: str) -> None:
    assert mail(text).kind is AbuseMailKind.OTHER


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("message/rfc822", ""),
        ("application/octet-stream", '; name="spam.eml"'),
        ("text/rfc822-headers", ""),
        ("message/global", ""),
    ],
)
def test_an_attached_message_is_the_best_witness(kind: str, name: str) -> None:
    found = forwarded("Zie bijlage.", kind, name)
    assert (found.kind, found.attached, found.recipient) == (AbuseMailKind.COMPLAINT, True, "rita@example.net")
    assert (found.mailings, found.tokens) == ((MAILING,), (TOKEN,))


def test_a_pasted_header_will_do_also_when_it_is_quoted() -> None:
    quoted = "".join(f"> {line}\n" for line in HEADER.splitlines())
    found = mail(f"Das ist Spam, ich war nie angemeldet, unverlangt!\n\nAm Montag schrieb Shop:\n{quoted}")
    assert (found.kind, found.language, found.mailings, found.tokens) == (
        AbuseMailKind.COMPLAINT,
        "de",
        (MAILING,),
        (TOKEN,),
    )


def test_what_is_quoted_is_not_what_is_said() -> None:
    quoted = "> To unsubscribe, or to report spam without my consent, write to us.\n"
    assert mail(f"What are your hours?\n\nOn Monday Shop wrote:\n{quoted}").kind is AbuseMailKind.OTHER
    assert mail(f"What are your hours?\n\n-----Original Message-----\n{quoted[2:]}").kind is AbuseMailKind.OTHER


def test_the_number_of_a_case_makes_it_an_answer() -> None:
    found = mail("We have removed the address; the spam was our mistake.", "AW: [C-17] Beschwerde: Ihre Antwort")
    assert (found.kind, found.case) == (AbuseMailKind.CASE_REPLY, 17)
    assert mail("ok", "Re: [C-17 +4] Complaint").case == 17
    assert mail("ok", "C-17").case is None


def test_who_writes_and_what_it_comes_to() -> None:
    found = mail("I never signed up.\nStop it.", "=?utf-8?q?Sch=C3=A4big?=")
    assert (found.sender, found.subject, found.summary) == (
        "rita@example.net", "Schäbig", "I never signed up. Stop it.",
    )  # fmt: skip


def test_only_what_can_be_an_id_of_ours_counts() -> None:
    old = format_id(first_id_at(datetime(2001, 1, 1, tzinfo=UTC)))
    future = format_id(first_id_at(datetime(2100, 1, 1, tzinfo=UTC)))
    for other in (old, future, "a" * 26, "7" * 26, MAILING + "0", MAILING[:-1], MAILING.replace(MAILING[-1], "u")):
        assert list(ids_in(f"id {other} ends", NOW)) == []
    assert list(ids_in(f"<{MAILING}>,{MAILING.upper()}.", NOW)) == [MAILING, MAILING]


@given(some.binary(max_size=2000) | some.text(max_size=2000).map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_whatever_comes_is_read(content: bytes) -> None:
    for octets in (content, b"From: a@b\nContent-Type: multipart/mixed; boundary=b\n\n--b\n" + content):
        found = READER.read(octets, NOW)
        assert len(found.summary) <= 300
        assert len(found.mailings) <= 20


def test_many_of_them_are_not_all_told() -> None:
    text = " ".join(format_id(new_message_id()) for _ in range(100))
    assert len(mail(text).mailings) == 20

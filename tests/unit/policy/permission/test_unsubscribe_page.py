"""Pages for unsubscribing, honest and not, in five languages: what they must be is told by their forms and words."""

from __future__ import annotations

import pytest

from policy.html.web_page import WebPage, decode_page
from policy.permission.unsubscribe_page import PageFault, UnsubscribePages

PAGES = UnsubscribePages.shipped()


def fault_of(html: str) -> PageFault | None:
    return PAGES.judge(WebPage(html)).fault


def form(inside: str, heading: str = "Unsubscribe") -> str:
    return f"<!DOCTYPE html><title>{heading}</title><body><h1>{heading}</h1><form method=post>{inside}</form>"


@pytest.mark.parametrize(
    "html",
    [
        form("<input type=hidden name=t value=8f2a><button>Bevestigen</button>", "Afmelden voor de nieuwsbrief"),
        form("<button type=submit>Ja, schrijf mij uit</button>", "Uitschrijven"),
        form("<input type=submit value=Abmelden>", "Newsletter"),
        form("<button>Ja, abmelden</button>", "Vom Newsletter abmelden"),
        form("<button>Oui, me désabonner</button>", "Désabonnement"),
        form("<button>Confirmar</button>", "Darse de baja del boletín"),
        form("<label>E-mail <input name=email required></label><button>Unsubscribe</button>"),
        form("<label>Correo <input type=text name=correo required></label><button>Dar de baja</button>", "Baja"),
        form("<button>Next</button><button>Unsubscribe from all</button>"),
        form('Why? (optional) <label><input type=radio name=w value=1>Too many</label><button>Unsubscribe</button>'),
        form("<textarea name=comment></textarea><button>Unsubscribe</button>"),
        form("<label><input type=radio name=w value=1 checked>No reason</label><button>Unsubscribe</button>"),
        form("<select name=why><option value=0>No reason<option value=1>Too many</select><button>Unsubscribe</button>"),
        form("<label><input type=radio name=w>Unsubscribe from this list</label>"
             "<label><input type=radio name=w>Unsubscribe from all lists</label><button>Submit</button>", "Choose"),
        form("No login and no password needed.<button>Unsubscribe</button>"),
        '<h1>Abmelden</h1><form id=f method=post></form><button form=f>Jetzt abmelden</button>',
        "<form><input type=password name=p><button>Log in</button></form>" + form("<button>Unsubscribe</button>"),
        form("<label><input type=checkbox name=a checked>Offers</label><button>Save</button>", "Preferences")
        + "<form method=post action=/all><button>Unsubscribe from all</button></form>",
        "<noscript><form method=post><button>Unsubscribe</button></form></noscript><script src=a.js></script>",
        "<p>U bent succesvol afgemeld.</p>",
        "<p>Uw adres is uitgeschreven.</p>",
        "<p>Sie wurden erfolgreich vom Newsletter abgemeldet.</p>",
        "<p>Vous êtes bien désinscrit.</p>",
        "<p>Votre désabonnement a été pris en compte.</p>",
        "<p>Se ha dado de baja correctamente.</p>",
        "<p>You have been unsubscribed.</p><form>Tell us why<input type=radio name=w>Other<button>Send</button></form>",
    ],
)  # fmt: skip
def test_one_press_or_none_is_enough(html: str) -> None:
    assert fault_of(html) is None


@pytest.mark.parametrize(
    ("html", "fault"),
    [
        (form("<input name=user><input type=password name=p><button>Log in</button>"), PageFault.LOGIN),
        (form("<input name=user><input type=password name=p><button>Weiter</button>", "Anmelden"), PageFault.LOGIN),
        (form("<input type=password name=p><button>Unsubscribe</button>"), PageFault.LOGIN),
        (form("Why? <label><input type=radio name=w>Too many</label><button>Send</button>"), PageFault.QUESTION),
        (form("<label><input type=radio name=w required>Te veel</label> optioneel<button>Afmelden</button>"),
         PageFault.QUESTION),
        (form("<textarea name=pourquoi required></textarea><button>Valider</button>", "Se désabonner"),
         PageFault.QUESTION),
        (form("<select name=why required><option value=''>Choose<option value=1>Too many</select>"
              "<button>Unsubscribe</button>"), PageFault.QUESTION),
        (form("<input name=fullname required><button>Unsubscribe</button>"), PageFault.QUESTION),
        (form("<input type=checkbox name=sure required> I am sure<button>Unsubscribe</button>"), PageFault.QUESTION),
        (form("<div class=g-recaptcha data-sitekey=k></div><button>Unsubscribe</button>"), PageFault.CAPTCHA),
        (form("Uitschrijven kost € 2,50.<button>Uitschrijven</button>", "Uitschrijven"), PageFault.FEE),
        (form("Wir berechnen 5 EUR.<button>Abmelden</button>", "Abmelden"), PageFault.FEE),
        (form("Dies ist kostenpflichtig.<button>Abmelden</button>", "Abmelden"), PageFault.OBSTACLE),
        ("<p>Para darse de baja, escriba por carta a nuestra sede.</p>", PageFault.OBSTACLE),
        ("<p>Wer sich abmelden will, braucht zuvor den Segen unseres Beirats.</p>", PageFault.OBSTACLE),
        (form("<input name=email><button>Weiter</button>", "Abmelden"), PageFault.SECOND_STEP),
        (form("Step 1 of 3 <button>Unsubscribe</button>"), PageFault.SECOND_STEP),
        (form("We will send you an e-mail to confirm.<button>Unsubscribe</button>"), PageFault.SECOND_STEP),
        (form("Nous vous enverrons un e-mail pour confirmer.<button>Valider</button>", "Désabonnement"),
         PageFault.SECOND_STEP),
        ("<h1>Newsletter</h1><p><a href=/really>Unsubscribe</a></p>", PageFault.SECOND_STEP),
        ("<div id=root></div><noscript>Enable JavaScript.</noscript><script src=a.js></script>", PageFault.SCRIPT),
        ("<h1>Abmelden</h1><button onclick=go()>Abmelden</button><script src=a.js></script>", PageFault.SCRIPT),
        ("<title>Shop</title><p>Coats.</p><form><input type=search><button>Search</button></form>"
         "<form><input type=email>Never miss our newsletter<button>Subscribe</button></form>", PageFault.NOTHING),
        ("<p>Once you have been unsubscribed, you get no mail.</p>", PageFault.NOTHING),
        ("<form hidden method=post><button>Unsubscribe</button></form>", PageFault.NOTHING),
        ("", PageFault.NOTHING),
        ("<b>" * 2000, PageFault.UNREADABLE),
    ],
)  # fmt: skip
def test_what_stands_in_the_way_is_told(html: str, fault: PageFault) -> None:
    assert fault_of(html) is fault


def test_the_evidence_is_what_the_page_says() -> None:
    assert PAGES.judge(WebPage(form("<button>Sign me off</button>"))).verdict == (
        "", 'it unsubscribes at once: the button "Sign me off"'
    )  # fmt: skip
    assert PAGES.judge(WebPage(form("<input name=fullname required><button>Unsubscribe</button>"))).verdict == (
        "asks a question that must be answered (fullname)", ""
    )  # fmt: skip


@pytest.mark.parametrize(
    ("octets", "content_type"),
    [
        ("Désabonné".encode(), "text/html; charset=utf-8"),
        ("Désabonné".encode("latin-1"), "text/html; charset=iso-8859-1"),
        ("Désabonné".encode("latin-1"), "text/html; charset=utf-8"),  # not what it says
        ("Désabonné".encode(), "text/html; charset=no-such-charset"),
        ('<meta charset="windows-1252">Désabonné'.encode("cp1252"), "text/html"),
        ("Désabonné".encode(), ""),
    ],
)
def test_a_page_is_read_whatever_charset_it_is_said_to_have(octets: bytes, content_type: str) -> None:
    assert decode_page(octets, content_type).endswith("Désabonné")

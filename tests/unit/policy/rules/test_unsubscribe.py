"""The way out in the text: told by words, sentence or address in five languages; no login, no survey."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mta.mail.message import Stream
from policy.accounts.account import Account
from policy.accounts.checked_pages import CheckedPage, CheckedPages, shape_of
from policy.accounts.mailing import Mailing
from policy.base import Facts, Pass, Refuse, Verdict
from policy.permission.tokens import SampleTokens
from policy.rule_context import RuleContext
from policy.rules.content.unsubscribe import UnsubscribeLink
from policy.text.message_text import MessageText
from tests.unit.policy.rules.test_stamps import NOW, message

CONTEXT = RuleContext("mx.example.com", SampleTokens(), web_url="https://mail.example.com")


def check(body: str, kind: str = "text/html", mailing: Mailing | None = None, **options: Any) -> Verdict:
    facts = facts_of(body, kind, mailing)
    verdict, _ = UnsubscribeLink(UnsubscribeLink.Settings(**options), CONTEXT).on_content(message(), facts, NOW)
    return verdict


def facts_of(body: str, kind: str = "text/html", mailing: Mailing | None = None) -> Facts:
    content = f"MIME-Version: 1.0\r\nContent-Type: {kind}; charset=utf-8\r\n\r\n{body}\r\n".encode()
    account = Account(7, "shop", frozenset())
    return Facts(account, stream=Stream.MARKETING, mailing=mailing, reading=MessageText(content))


def link(words: str, url: str = "https://t.example/c/8f2a") -> str:
    return f'<p>Offers!</p><p><a href="https://shop.example/">Shop</a> | <a href="{url}">{words}</a></p>'


WORDS = [
    "Afmelden", "Uitschrijven voor deze nieuwsbrief", "Meld je af", "Newsletter abmelden", "Abbestellen",
    "Hier können Sie sich abmelden", "Se désabonner", "SE DÉSINSCRIRE", "Ne plus recevoir ces messages",
    "Darse de baja", "Cancelar la suscripción", "CANCELAR LA SUSCRIPCION", "Unsubscribe", "Click here to unsubscribe",
    "Opt out", "Uns&#117;bscribe",
]  # fmt: skip


@pytest.mark.parametrize("words", WORDS)
def test_the_words_of_a_link_tell_it(words: str) -> None:
    assert check(link(words)) == Pass()


@pytest.mark.parametrize(
    "url",
    [
        "https://shop.example/afmelden/8f2a", "https://shop.example/newsletter/abmeldung?id=1",
        "https://shop.example/desabonnement/1", "https://shop.example/darse-de-baja/1",
        "https://shop.example/?action=unsubscribe&id=1", "https://shop.example/unsub/1",
        "mailto:list@shop.example?subject=unsubscribe", "https://mail.example.com/u/AQ8f2a",
    ],
)  # fmt: skip
def test_the_address_of_a_link_tells_it(url: str) -> None:
    assert check(link("&raquo;", url)) == Pass()
    assert check(f"Offers!\r\n\r\nBye: {url}", "text/plain") == Pass()


@pytest.mark.parametrize(
    "sentence",
    [
        "Wil je je afmelden? Klik dan <a href='https://t.example/1'>hier</a>.",
        "Wenn Sie den Newsletter abbestellen möchten, klicken Sie bitte <a href='https://t.example/1'>hier</a>.",
        "Pour vous désabonner, <a href='https://t.example/1'>cliquez ici</a>.",
        "Si quiere darse de baja, pulse <a href='https://t.example/1'>aquí</a>.",
        "To unsubscribe, click <a href='https://t.example/1'>here</a>.",
    ],
)
def test_the_sentence_around_a_link_that_says_nothing_tells_it(sentence: str) -> None:
    assert check(f"<p>Offers!</p><p>{sentence}</p>") == Pass()


def test_in_plain_text_the_line_before_the_address_tells_it() -> None:
    assert check("Offers!\r\n\r\nUitschrijven:\r\nhttps://t.example/c/8f2a", "text/plain") == Pass()
    far = "Unsubscribe is a word.\r\n" + "x " * 200 + "\r\nhttps://t.example/c/8f2a"
    assert isinstance(check(far, "text/plain"), Refuse)


@pytest.mark.parametrize(
    "body",
    [
        "<p>Offers!</p>",
        link("Shop now"),
        "<p>You can unsubscribe by writing us a letter.</p>",
        link("here") + "<p>" + "x " * 200 + "</p><p>unsubscribe</p>",
        '<p>Offers!</p><p style="display:none"><a href="https://shop.example/unsubscribe">Unsubscribe</a></p>',
        '<a href="javascript:unsubscribe()">Unsubscribe</a>',
        '<a href="#unsubscribe">Unsubscribe</a>',
        '<img src="https://shop.example/unsubscribe.png" alt="Unsubscribe">',
    ],
)
def test_what_is_no_way_out_is_refused_unless_none_is_asked_for(body: str) -> None:
    verdict = check(body)
    assert isinstance(verdict, Refuse)
    assert verdict.reply.text.startswith(("unsubscribe: none of the ", "unsubscribe: the link "))
    assert check(body, link="optional") == Pass()


@pytest.mark.parametrize(
    ("words", "url"),
    [
        ("Unsubscribe", "https://shop.example/login?next=unsubscribe"),
        ("Log in to unsubscribe", "https://t.example/1"),
        ("Inloggen om je af te melden", "https://shop.example/afmelden"),
        ("Einloggen und abmelden", "https://t.example/1"),
        ("Connectez-vous pour vous désabonner", "https://t.example/1"),
        ("Inicia sesión para darte de baja", "https://shop.example/baja"),
        ("Unsubscribe after a short survey", "https://t.example/1"),
        ("Abmelden", "https://shop.example/umfrage/abmelden"),
    ],
)
def test_a_login_or_a_survey_bars_the_way(words: str, url: str) -> None:
    verdict = check(link(words, url))
    assert isinstance(verdict, Refuse)
    assert "is barred by" in verdict.reply.text
    assert "at once" in verdict.reply.text
    assert check(link(words, url), obstacles="allow") == Pass()
    assert check(link(words, url) + link("Unsubscribe")) == Pass()  # there is an open one too


def test_a_login_link_beside_the_way_out_bars_nothing() -> None:
    assert check('<a href="https://shop.example/login">Log in</a> | ' + link("Unsubscribe")) == Pass()


SAID = [  # what stands around <a>...</a>
    # Dutch
    "Wil je deze mails niet meer ontvangen? Meld je dan [hier] af.", "Schrijf je [hier] uit.",
    "[Ik wil geen nieuwsbrief meer]",
    "Liever geen e-mail van ons? [Klik hier]", "[Stop deze mailing]",
    "U ontvangt deze nieuwsbrief als klant. U kunt zich [hier] uitschrijven.",
    "[Zeg je abonnement op]", "Geen interesse meer? [Meld u af]", "[Nieuwsbrief opzeggen]",
    "Om je af te melden, [klik hier].",
    "Je kunt je op elk moment [afmelden] voor deze nieuwsbrief.", "[Verwijder mij van de lijst]",
    "Niet langer ontvangen? [Uitschrijven]",
    # German
    "Melden Sie sich [hier] vom Newsletter ab.", "Um sich abzumelden, klicken Sie bitte [hier].",
    "[Ab&shy;melden]", "[Vom Newsletter abmelden]",
    "Wenn Sie keine weiteren E-Mails erhalten möchten, [klicken Sie hier].", "[Newsletter kündigen]",
    "Tragen Sie sich [hier] aus dem Verteiler aus.",
    "Sie möchten den Newsletter nicht mehr erhalten? [Hier]", "[Aus dem Verteiler austragen]",
    "Bestell den Newsletter [hier] ab.",
    "[Einwilligung widerrufen] zum Erhalt dieses Newsletters",
    "Ihre Einwilligung zum Newsletter können Sie [hier] widerrufen.",
    "Keine Lust mehr auf Post von uns? [Newsletter abbestellen]", "Meld dich [hier] ab",
    # French
    "Pour ne plus recevoir nos messages, [cliquez ici].",
    "Si vous ne souhaitez plus recevoir cette lettre, [désabonnez-vous].", "[Me désinscrire]",
    "[Se d&eacute;sabonner]", "Vous pouvez vous désinscrire [en cliquant ici].", "[Résilier mon abonnement]",
    "[Annuler mon inscription à la newsletter]",
    "Je ne veux plus recevoir vos e-mails : [c'est ici]", "[Ne plus être contacté]",
    "Pour vous désabonner de notre liste, suivez [ce lien].",
    # Spanish
    "Si no desea recibir más correos, haga clic [aquí].", "Puede darse de baja [aquí].", "[Darme de baja]",
    "[Cancelar mi suscripción]", "[Baja]",
    "Para dejar de recibir este boletín, [pulse aquí].", "[Anular la suscripción al boletín]",
    "[No quiero recibir más mensajes]", "Date de baja cuando quieras [aquí]",
    "[Desuscribirse]",
    "Si ya no quieres seguir recibiendo nuestras comunicaciones puedes darte de baja en [este enlace].",
    # English
    "If you no longer wish to receive these emails, [click here].", "[Unsubscribe]",
    "You can [unsubscribe] at any time.", "[Opt out]",
    "Don't want these emails? [Let us know]", "[Remove me from this list]", "[Cancel subscription]",
    "[Stop these emails]", "[Take me off this list]",
    "Prefer not to hear from us? Click [here].", "[Leave this mailing list]",
    "To be removed from our mailing list, follow [this link].",
    "<b>Un</b>subscribe [here]", "[<b>Un</b>subscribe]", "[<img src=x.png alt='Unsubscribe' width=90 height=30>]",
    "[<img src=x.png title='Abmelden'>]",
]  # fmt: skip
NOT_SAID = [
    "[Shop now]", "[Hier]", "Abmelden ist einfach. Datenschutz finden Sie [hier].",
    "Uitschrijven kan per brief. Lees [hier] onze privacyverklaring.",
    "[Neu anmelden]", "[Subscribe to our newsletter]", "[Abonnez-vous]", "[Suscríbete al boletín]",
    "[Meld je aan]", "[Lees meer]",
    "You are receiving this because you subscribed. [View in browser]", "[Contact us]", "[Newsletter]",
    "[Unser Newsletter-Archiv]",
    "Unsubscribe by letter. See [here] for our terms.", "[Gestion de vos données]", "[Mes préférences]",
    "[Política de privacidad]",
]  # fmt: skip
BARRED = [
    "To unsubscribe, log in to your account [here].", "Um sich abzumelden, loggen Sie sich [hier] ein.",
    "Pour vous désabonner, connectez-vous [ici].",
    "Om je uit te schrijven moet je [hier] inloggen met je wachtwoord.", "Para darse de baja inicie sesión [aquí].",
    "[Unsubscribe] after answering our survey.", "[Abmelden] ist nur schriftlich möglich.",
    "Unsubscribing is not possible [here].",
    "[Unsubscribe] for a fee of 2 euros", "[Uitschrijven] kan alleen telefonisch",
    "[Unsubscribe here]. You will need your password.", "You can [unsubscribe]. Please log in to the club first.",
    "[Afmelden]. U heeft hiervoor uw wachtwoord nodig.", "[Abmelden]. Dazu müssen Sie sich einloggen.",
    "[Désabonnez-vous]. Votre mot de passe vous sera demandé.", "[Darse de baja]. Antes tendrá que iniciar sesión.",
    "[Afmelden]. Log hiervoor eerst in op je account.", "[Abmelden]. Halten Sie Ihre Zugangsdaten bereit.",
    "[Se désinscrire]. Il faut être connecté à son compte.", "[Unsubscribe]. A short survey must be completed.",
    "To unsubscribe you must enter your password. Click [here] to unsubscribe.",
]  # fmt: skip


def around(text: str, url: str = "https://t.example/c/8f2a") -> str:
    return f"<p>Offers!</p><p>{text.replace('[', f'<a href={url}>').replace(']', '</a>')}</p>"


@pytest.mark.parametrize("text", SAID)
def test_it_is_said_in_many_ways(text: str) -> None:
    assert check(around(text)) == Pass()


@pytest.mark.parametrize("text", NOT_SAID)
def test_what_says_something_else_is_no_way_out(text: str) -> None:
    verdict = check(around(text))
    assert isinstance(verdict, Refuse)
    assert "none of the " in verdict.reply.text


@pytest.mark.parametrize("text", BARRED)
def test_an_obstacle_in_the_sentence_bars_the_way(text: str) -> None:
    verdict = check(around(text))
    assert isinstance(verdict, Refuse)
    assert "is barred by" in verdict.reply.text


@pytest.mark.parametrize(
    "text",
    [
        "[Unsubscribe] at once, no login needed.", "[Abmelden] ohne Anmeldung oder Passwort",
        "Uitschrijven kan [hier] zonder in te loggen",
        "[Se désabonner] sans connexion", "[Unsubscribe]. You do not need a password.",
        "[Unsubscribe]. You must log in to change your profile.", "[Abmelden]. Ihr Passwort bleibt geheim.",
        "[Se désabonner]. Nous ne vous demanderons jamais votre mot de passe.",
        "[Uitschrijven]. Verzendkosten zijn vereist bij kleine bestellingen.",
        "[Cancelar suscripción]. Gastos de envío gratis antes del domingo.",
        "[Unsubscribe] | You need a password for the shop.", "Members must log in to order. [Unsubscribe]",
        "<a href=https://shop.example/login>Log in</a> [Unsubscribe] <a href=x>Survey</a>",
    ],
)  # fmt: skip
def test_what_is_not_needed_bars_nothing(text: str) -> None:
    assert check(around(text)) == Pass()


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://shop.example/u", "it is not https"), ("http://0/", "it is not https"), ("https://10.0.0.1/u",
        "10.0.0.1 is not reached"),
        ("https://localhost/u", "localhost is not reached"), ("https://intranet/u", "intranet is not reached"),
        ("https://0/", "0 is not reached"),
        ("https://127.1/u", "127.1 is not reached"), ("https://shop.local/u", "shop.local is not"),
        ("https://0x7f.1/u", "is not reached"), ("mailto:", "no mail address"), ("mailto:?subject=stop",
        "no mail address"),
        ("https://shop.example/privacy-policy/", "another page"),
        ("https://shop.example/nl/privacybeleid", "another page"),
        ("https://shop.example/datenschutz.html?lang=de#nl", "another page"), ("https://shop.example", "front page"),
        ("https://shop.example/#nl", "front page"),
        ("https://shop.example/{{unsubscribe}}", "template"), ("*|UNSUB|*", "template"), ("//shop.example/u",
        "it is no address"), ("/u", "it is no address"),
        ("#", "it is no address"), ("javascript:void(0)", "it is no address"), ("https:///u", "is not reached"),
    ],
)  # fmt: skip
def test_an_address_that_nobody_can_open_is_no_way_out(url: str, reason: str) -> None:
    verdict = check(around("[Unsubscribe]", f"'{url}'"))
    assert isinstance(verdict, Refuse)
    assert reason in verdict.reply.text


@pytest.mark.parametrize(
    "url",
    ["https://shop.example/u?a=1", "https://192.0.2.1.example/u", "mailto:stop@shop.example", "https://1.1.1.1/u"],
)
def test_an_address_that_anybody_can_open(url: str) -> None:
    assert check(around("[Unsubscribe]", url)) == Pass()


def test_a_link_of_which_nothing_shows() -> None:
    verdict = check("<p>x<a href=https://shop.example/unsubscribe></a></p>")
    assert isinstance(verdict, Refuse)
    assert "nothing of it shows" in verdict.reply.text


def test_an_area_counts_if_a_picture_uses_its_map() -> None:
    area = "<map name=m><area href=https://shop.example/unsubscribe alt=Unsubscribe></map>"
    assert isinstance(check(f"<p>x{area}"), Refuse)
    assert isinstance(check(f"<p>x<img src=x.png usemap='#n'>{area}"), Refuse)


URL = "https://t.example/c/8f2a"


def confirmed(fault: str = "", rule: str = "unsubscribe") -> Mailing:
    """A mailing that was confirmed with a message that linked to URL."""
    seen = CheckedPage(rule, URL, shape_of(URL), NOW, URL, 200, fault=fault, seen="" if fault else "it unsubscribes")
    return Mailing("01jdqv5wzx8z6m0b9k3f2n7t4c", 7, "m", "t", "l", pages=CheckedPages((seen,)))


def test_a_link_is_judged_by_the_page_that_was_seen_at_the_confirmation() -> None:
    body, other = link("Unsubscribe", "https://t.example/c/9a"), link("Unsubscribe", "https://t.example/d/9a")
    assert check(body, mailing=confirmed(), page="require") == Pass()
    verdict = check(body, mailing=confirmed("asks for a password"))
    assert isinstance(verdict, Refuse)
    assert "the page of https://t.example/c/9a: asks for a password (looked at 20" in verdict.reply.text
    assert check(body, mailing=confirmed("asks for a password"), page="ignore") == Pass()
    assert check(other, mailing=confirmed("asks for a password")) == Pass()
    verdict = check(other, mailing=confirmed(), page="require")
    assert isinstance(verdict, Refuse)
    assert "confirm the mailing with a message that has such a link" in verdict.reply.text


def test_the_pages_that_are_looked_at() -> None:
    def pages(body: str, **options: Any) -> list[str]:
        rule = UnsubscribeLink(UnsubscribeLink.Settings(**options), CONTEXT)
        return list(rule.pages(message(), facts_of(body)))

    assert pages(link("Unsubscribe")) == [URL]
    assert pages(link("Unsubscribe", "https://mail.example.com/u/AQ8f2a")) == []
    assert pages(link("Unsubscribe", "mailto:list@shop.example?subject=unsubscribe")) == []
    assert pages(link("Log in to unsubscribe")) == []
    assert pages(link("Unsubscribe"), page="ignore") == []
    assert pages(link("Unsubscribe"), footer="append") == []


@settings(deadline=None)
@given(st.text(max_size=300))
def test_nothing_in_a_message_raises(text: str) -> None:
    assert isinstance(check(text), Pass | Refuse)
    assert isinstance(check(link("here", text.replace('"', ""))), Pass | Refuse)

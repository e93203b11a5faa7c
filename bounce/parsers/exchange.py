"""Microsoft Exchange since 5.5, Outlook.com and Microsoft 365, in the languages they speak; hMailServer, who took
their phrases."""

from __future__ import annotations

from bounce.parsers.free_text import BounceForm
from bounce.parsers.phrases import any_of

FORMS = (
    BounceForm(
        "exchange",
        any_of(
            r"did not reach the following recipient",
            r"delivery (?:has failed|is delayed) to these (?:recipients|groups)",
            r"delivery to the following recipients? (?:or distribution lists? )?(?:has )?"
            r"(?:failed|been delayed|is delayed)",
            r"your message (?:could not be|couldn't be|was not|wasn't) delivered to",
            r"the following recipient\(?s?\)? (?:could not|cannot) be reached",
            r"message to the following recipients? (?:has been delayed|could not)",
            r"fehler bei der (?:nachrichten)?zustellung an (?:die )?folgenden? empf.nger",
            r"(?:hat|konnte) die folgenden empf.nger nicht erreich",
            r"ihre nachricht .{0,40}(?:nicht erreicht|nicht zugestellt|nicht .bermittelt)",
            r".chec de la remise (?:pour|.) (?:ces|les) destinataires",
            r"n'a pas pu .tre remis (?:aux?|.)",
            r"error al entregar (?:el mensaje )?a (?:estos|los siguientes) destinatarios",
            r"no se (?:pudo|ha podido) entregar (?:el|su) mensaje",
            r"(?:uw|het) bericht (?:kan|kon) niet (?:worden )?(?:bezorgd|afgeleverd)",
            r"bezorging bij (?:de volgende|deze) ",
            r"impossibile (?:recapitare|consegnare) il messaggio",
        ),
        any_of(
            r"delivery is delayed",
            r"has been delayed",
            r"will keep trying",
            r"zustellung .{0,40}verz.gert",
            r"nog niet bezorgd",
        ),
    ),
)

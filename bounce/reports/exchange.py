"""Microsoft Exchange since 5.5, Outlook.com and Microsoft 365, in the languages they speak."""

from __future__ import annotations

import re

from bounce.reports.notice import Form

FORMS = (
    Form(
        "exchange",
        re.compile(
            r"did not reach the following recipient|delivery (?:has failed|is delayed) to these (?:recipients|groups)"
            r"|delivery to the following recipients? (?:or distribution lists? )?(?:has )?(?:failed|been delayed|is delayed)"
            r"|your message (?:could not be|couldn't be|was not|wasn't) delivered to"
            r"|the following recipient\(?s?\)? (?:could not|cannot) be reached"
            r"|message to the following recipients? (?:has been delayed|could not)"
            r"|fehler bei der (?:nachrichten)?zustellung an (?:die )?folgenden? empf.nger|hat die folgenden empf.nger nicht erreicht"
            r"|ihre nachricht (?:hat|konnte) .{0,40}(?:nicht erreicht|nicht zugestellt|nicht .bermittelt)"
            r"|.chec de la remise (?:pour|.) (?:ces|les) destinataires|n'a pas pu .tre remis (?:aux?|.)"
            r"|error al entregar (?:el mensaje )?a (?:estos|los siguientes) destinatarios|no se pudo entregar (?:el|su) mensaje"
            r"|(?:uw|het) bericht (?:kan|kon) niet (?:worden )?(?:bezorgd|afgeleverd)|bezorging bij de volgende"
            r"|impossibile (?:recapitare|consegnare) il messaggio|consegna (?:non riuscita|del messaggio)"
        ),
        re.compile(
            r"delivery is delayed|has been delayed|will keep trying|zustellung .{0,40}verz.gert|nog niet bezorgd"
        ),
    ),
)

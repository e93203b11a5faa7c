"""Known free-text bounce formats: the phrases of each family of mail systems, in the order in which they are tried.

Smaller systems, filters, gateways and mobile carriers come last, then the phrases that all of them share.

Limitations: Phrases are matched in lower-cased text; every repeat is bounded.
"""

from __future__ import annotations

import re

from bounce.parsers.free_text import BounceForm, FreeTextBounce, FreeTextRecipient, reported
from bounce.parsers.report_kinds import ReportedRecipient
from bounce.pattern import any_of

# Exim, and systems that write like it: Mail.ru, IONOS (kundenserver.de), MX Logic, Zoho.
_EXIM = (
    BounceForm(
        "exim",
        any_of(
            r"the following\s+address(?:\(es\)|es)?\s+failed",
            r"permanent error\.\s+the following",
            r"could not be delivered to one or more of\s+its\s+recipients",
            r"(?:could not|cannot) be delivered to all of its recipients",
            r"address(?:es)? to which the message has not yet been delivered (?:is|are)",
            r"has not (?:yet )?been delivered to (?:one or more|all) of its\s+recipients",
        ),
        any_of(
            r"not (?:yet )?been delivered",
            r"delivery attempts will continue",
        ),
    ),
)

# qmail and its descendants (netqmail, notqmail, Postini), and Yahoo. Its own findings carry a code such as
# #5.1.2; without a reply code the reason may be the words of another host.
_QMAIL = (
    BounceForm(
        "qmail",
        any_of(
            r"i(?:'m| am) afraid i wasn't able to deliver your message",
            r"this is the qmail-send program",
            r"i (?:was not|wasn't) able to deliver (?:your|the) message to",
            r"unable to deliver (?:your )?(?:message|mail) to the following address",
            r"your mail message to the following\s+address",
            r"this is a permanent error;? i've given up",
        ),
        any_of(
            r"i'm (?:not giving up|still trying)",
            r"i'll keep trying",
        ),
        shared=False,
        own=False,
    ),
)

# Sendmail since version 5, and systems that write like it: recipients under a ruled line, then a transcript.
_SENDMAIL = (
    BounceForm(
        "sendmail",
        any_of(
            r"-{2,9} ?the following address(?:es|\(es\))? (?:had|have) [a-z -]{0,40}(?:errors?|problems?|failures?)",
            r"the following address(?:es|\(es\))? (?:had|have) (?:permanent|transient|delivery|fatal)",
        ),
        any_of(
            r"addresses had transient non-fatal errors",
            r"this is a warning message only",
            r"will keep trying until",
        ),
        own=False,
    ),
)

# Gmail and Google Workspace, where they send no RFC 3464 fields.
_GOOGLE = (
    BounceForm(
        "google",
        any_of(
            r"delivery to the following recipients? (?:failed permanently|has been delayed)",
            r"your message wasn't delivered to ",
            r"there was a (?:temporary )?problem (?:while )?delivering your message to",
        ),
        any_of(
            r"has been delayed",
            r"will be retried",
            r"delivery incomplete",
            r"temporary problem",
            r"will retry for",
        ),
    ),
)

# Microsoft Exchange since 5.5, Outlook.com and Microsoft 365 in their languages, and hMailServer, which uses the
# same phrases.
_EXCHANGE = (
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

# Lotus Notes and Domino, Novell GroupWise: "was not delivered to: ... because: ...".
_LOTUS = (
    BounceForm(
        "lotus",
        any_of(
            r"-{3,9} ?failure reasons\s{1,4}-{3,9}",
            r"was not delivered to:",
            r"wurde nicht zugestellt an:",
            r"n'?a pas .t. (?:remis|distribu.) .:",
            r"is niet bezorgd bij:",
            r"no se ha entregado a:",
            r"non . stato consegnato a:",
            r"the message that you sent was undeliverable to the following",
        ),
        any_of(
            r"will be retried",
            r"noch nicht zugestellt",
        ),
    ),
)

# Postfix, where the RFC 3464 fields were lost in transit.
_POSTFIX = (
    BounceForm(
        "postfix",
        any_of(
            r"sorry to have to inform you that (?:your message could not|the message returned\s+below could not)",
            r"this is the (?:mail system|postfix program) at host",
            r"your message could not be delivered for more than",
        ),
        any_of(
            r"this is a warning only",
            r"it will be retried until",
        ),
        shared=False,
    ),
)

_DELAYED = any_of(
    r"is delayed",
    r"been delayed",
    r"delayed for",
    r"not yet been delivered",
    r"will be retried",
    r"warning (?:message )?only",
    r"still being retried",
    r"only a temporary",
    r"attempts will continue",
    r"will (?:keep|continue) (?:on )?(?:trying|to try)",
    r"do not need to re-?send",
    r"verz.gert",
    r"noch nicht zugestellt",
    r"nog niet (?:bezorgd|afgeleverd)",
    r"wordt opnieuw geprobeerd",
    r"pas encore .t. (?:remis|distribu)",
    r"sera retent",
    r"todav.a no se ha (?:podido )?entreg",
)

_GATEWAYS = (
    BounceForm(
        "opensmtpd", any_of(r"for\s+the\s+following\s+list of recipients:"), any_of(r"temporary failure report")
    ),
    BounceForm("james", any_of(r"error message below:(?=.{0,400}\smessage details:)"), own=False),
    BounceForm("dragonfly", any_of(r"there was an error delivering your mail to <")),
    BounceForm(
        "imail",
        any_of(
            r"(?:^|\n)(?:unknown user|undeliverable to|user mailbox exceeds allowed size"
            r"|invalid final delivery userid):? "
        ),
    ),
    BounceForm(
        "gateway",
        any_of(
            r"(?:unable to deliver|could ?n[o']t deliver|cannot deliver|failed to deliver|error (?:while )?delivering)",
            r"(?:could|can|was|were|is|has|have)(?: ?not|n't) (?:been |be )?(?:successfully )?"
            r"(?:delivered|sent|relayed|forwarded)\b",
            r"(?:failed|undeliverable|invalid|unknown|bad|rejected) (?:recipients?|address(?:es)?)\b",
            r"the following (?:e-?mail )?(?:recipients?|address(?:es)?|users?)[^\n]{0,60}"
            r"(?:rejected|failed|unknown|invalid|error)",
            r"deli?e?very (?:to|for|of)[^\n]{0,80}(?:failed|failure|unsuccessful)",
            r"delivery (?:has )?(?:failed|failure)",
            r"error message below",
            r"account is disabled",
            r"did not reach",
            r"had errors",
            r"error sending your mail",
            r"fatal delivery errors",
            r"undelivered",
            r"undeliverable",
            r"returned to sender",
            r"permanent (?:fatal )?(?:error|failure)",
            r"returned mail",
            r"konnten? (?:leider )?nicht (?:zugestellt|ausgeliefert|.bermittelt)",
            r"(?:unzustellbar|nicht zustellbar|zustellung (?:ist )?fehlgeschlagen)",
            r"niet (?:worden )?(?:bezorgd|afgeleverd)",
            r"onbestelbaar",
            r"n'a (?:pas )?pu .tre (?:remis|d.livr|distribu|achemin)",
            r"non remis",
            r"no (?:se )?(?:ha )?(?:podido|pudo) (?:ser )?entreg",
            r"no entregado",
            r"non . stato (?:possibile )?(?:consegn|recapit)",
            r"mancata consegna",
            r"не может быть доставлено",
            r"не доставлен",
            r"送信に失敗",
            r"(?:配信|送信)できません",
            r"见附件退信|无法发送到|退信",
        ),
        _DELAYED,
        before=True,
        own=False,
        loose=True,
    ),
)

FORMS = (*_EXIM, *_QMAIL, *_SENDMAIL, *_GOOGLE, *_EXCHANGE, *_LOTUS, *_POSTFIX, *_GATEWAYS)

TRANSCRIPT = any_of(r"-{2,9} ?transcript of session follows")
MOBILE = any_of(r"message could not be delivered to mobile")  # names the recipient in the returned header only

# Phrases that no other software uses: sufficient even if the text names no recipient.
DISTINCTIVE = (*(form.opening for form in (*_EXIM, *_QMAIL, *_SENDMAIL, *_POSTFIX)), TRANSCRIPT, MOBILE)

_REFUSED = re.compile(
    r"\s*(?P<code>[45]\d\d)[ -](?:[45]\.\d\.\d )?<?(?P<address>[^\s<>]{1,64}@[^\s<>]{1,255}?)>?\.\.\. ?(?P<words>.*)"
)
_ASKED = re.compile(r"\s*>>> rcpt to: ?<(?P<address>[^<>]{3,300})>", re.IGNORECASE)
_ANSWERED = re.compile(r"\s*<<< (?P<words>[45]\d\d[ -].*)")


def read_transcript(text: FreeTextBounce) -> tuple[ReportedRecipient, ...]:
    """Return the recipients of Sendmail 5, which names them only in the transcript:
    ``550 <ann@example.com>... User unknown``."""
    opening = TRANSCRIPT.search(text.lower)
    if opening is None:
        return ()
    entries: dict[str, FreeTextRecipient] = {}
    answer = ""
    asked: str | None = None
    for line in text.lines[text.lower.count("\n", 0, opening.end()) + 1 :]:
        if match := _ASKED.match(line):
            asked, answer = match["address"], ""
        elif line.lstrip().startswith(">>>"):
            asked, answer = None, ""
        elif match := _ANSWERED.match(line):
            answer = match["words"]
            if asked:
                entries.setdefault(asked.lower(), FreeTextRecipient(asked, [])).lines += [
                    f">>> RCPT TO:<{asked}>",
                    answer,
                ]
        elif match := _REFUSED.match(line):
            entry = entries.setdefault(match["address"].lower(), FreeTextRecipient(match["address"], []))
            if not entry.lines:
                entry.lines.append(answer or f"{match['code']} {match['words']}")
            asked, answer = None, ""
    return tuple(reported(entry, [], delayed=False, own=False) for entry in entries.values())

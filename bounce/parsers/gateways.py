"""Smaller mail systems, filters and gateways (OpenSMTPD, DragonFly, MailFoundry, IMail, m-FILTER, mobile carriers),
and at last the phrases that they all share."""

from __future__ import annotations

from bounce.parsers.free_text import BounceForm
from bounce.parsers.phrases import any_of

MOBILE = any_of(r"message could not be delivered to mobile")  # names the recipient in the returned header only

_LATER = any_of(
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

FORMS = (
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
        _LATER,
        before=True,
        own=False,
        loose=True,
    ),
)

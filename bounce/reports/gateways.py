"""Smaller mail systems, filters and gateways (OpenSMTPD, DragonFly, MailFoundry, IMail, m-FILTER, mobile carriers),
and at last the phrases that they all share."""

from __future__ import annotations

import re

from bounce.reports.notice import Form

_LATER = re.compile(
    r"is delayed|been delayed|delayed for|not yet been delivered|will be retried|warning (?:message )?only|still being retried"
    r"|only a temporary|attempts will continue|will (?:keep|continue) (?:on )?(?:trying|to try)"
    r"|do not need to re-?send|verz.gert|noch nicht zugestellt|nog niet (?:bezorgd|afgeleverd)|pas encore .t. (?:remis|distribu)"
    r"|todav.a no se ha (?:podido )?entreg|tempor.r verz|sera retent"
)

FORMS = (
    Form(
        "opensmtpd", re.compile(r"for\s+the\s+following\s+list of recipients:"), re.compile(r"temporary failure report")
    ),
    Form("dragonfly", re.compile(r"there was an error delivering your mail to <")),
    Form(
        "imail",
        re.compile(
            r"(?m)^(?:unknown user|undeliverable to|user mailbox exceeds allowed size|invalid final delivery userid):? "
        ),
    ),
    Form(
        "gateway",
        re.compile(
            r"(?:unable to deliver|could ?n[o']t deliver|cannot deliver|failed to deliver|error (?:while )?delivering)"
            r"[^\n]{0,40}\b(?:message|mail)\b[^\n]{0,60}"
            r"|(?:could|can|was|were|is|has|have)(?: ?not|n't) (?:been |be )?(?:successfully )?(?:delivered|sent|relayed|forwarded)\b"
            r"|(?:failed|undeliverable|invalid|unknown|bad|rejected) (?:recipients?|address(?:es)?)(?:\(s\))?(?: follows?)?\b"
            r"|(?:each of )?the following (?:e-?mail )?(?:recipients?|address(?:es)?|users?)[^\n]{0,60}(?:rejected|failed|unknown|invalid|error)"
            r"|deli?e?very (?:to|for|of)[^\n]{0,80}(?:failed|failure|unsuccessful)|delivery (?:has )?failed|delivery failure"
            r"|error message below|account is disabled|did not reach|had errors|error sending your mail"
            r"|undelivered|undeliverable|returned to sender|permanent (?:fatal )?(?:error|failure)|returned mail"
            r"|送信に失敗|配信できません|送信できません|見つかりませんでした|エラー"
            r"|konnte? (?:leider )?nicht (?:zugestellt|ausgeliefert|.bermittelt)|unzustellbar|nicht zustellbar|zustellung (?:ist )?fehlgeschlagen"
            r"|niet (?:worden )?(?:bezorgd|afgeleverd)|onbestelbaar|n'a (?:pas )?pu .tre (?:remis|d.livr|distribu|achemin)|non remis"
            r"|no (?:se )?(?:ha )?(?:podido|pudo) (?:ser )?entreg|no entregado|non . stato (?:possibile )?(?:consegn|recapit)|mancata consegna"
            r"|не может быть доставлено|не доставлен"
        ),
        _LATER,
        before=True,
    ),
)

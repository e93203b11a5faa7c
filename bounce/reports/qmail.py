"""qmail, its descendants (netqmail, notqmail, mailman's and Postini's texts) and Yahoo, who took over its manner."""

from __future__ import annotations

import re

from bounce.reports.notice import Form

FORMS = (
    Form(
        "qmail",
        re.compile(
            r"i(?:'m| am) afraid i wasn't able to deliver your message|this is the qmail-send program"
            r"|i (?:was not|wasn't) able to deliver (?:your|the) message to"
            r"|unable to deliver (?:your )?(?:message|mail) to the following address"
            r"|your mail message to the following\s+address"
            r"|this is a permanent error;? i've given up"
        ),
        re.compile(r"i'm (?:not giving up|still trying)|i'll keep trying"),
        shared=False,
    ),
)

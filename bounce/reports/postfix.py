"""Postfix's text, where the fields beside it were lost on the way."""

from __future__ import annotations

import re

from bounce.reports.notice import Form

FORMS = (
    Form(
        "postfix",
        re.compile(
            r"sorry to have to inform you that (?:your message could not|the message returned\s+below could not)"
            r"|this is the (?:mail system|postfix program) at host|your message could not be delivered for more than"
        ),
        re.compile(r"this is a warning only|it will be retried until"),
        shared=False,
    ),
)

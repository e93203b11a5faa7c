"""Exim, and those who write like it: Mail.ru, IONOS (kundenserver.de), MX Logic, Zoho."""

from __future__ import annotations

import re

from bounce.reports.notice import Form

FORMS = (
    Form(
        "exim",
        re.compile(
            r"the following\s+address(?:\(es\)|es)?\s+failed|permanent error\.\s+the following"
            r"|could not be delivered to one or more of\s+its\s+recipients"
            r"|(?:could not|cannot) be delivered to all of its recipients"
            r"|address(?:es)? to which the message has not yet been delivered (?:is|are)"
            r"|has not (?:yet )?been delivered to (?:one or more|all) of its\s+recipients"
            r"|delivery of the message .{0,80} has been delayed"
        ),
        re.compile(r"not (?:yet )?been delivered|has been delayed|delivery attempts will continue"),
    ),
)

"""Gmail, Google Workspace and Google Groups where they come without the fields of RFC 3464."""

from __future__ import annotations

import re

from bounce.reports.notice import Form

FORMS = (
    Form(
        "google",
        re.compile(
            r"delivery to the following recipients? (?:failed permanently|has been delayed|failed)"
            r"|your message wasn't delivered to |there was a (?:temporary )?problem (?:while )?delivering your message to"
            r"|delivery incomplete"
        ),
        re.compile(r"has been delayed|will be retried|delivery incomplete|temporary problem|will retry for"),
    ),
)

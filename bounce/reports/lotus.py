"""Lotus Notes and Domino, Novell GroupWise: ``was not delivered to: ... because: ...``."""

from __future__ import annotations

import re

from bounce.reports.notice import Form

FORMS = (
    Form(
        "lotus",
        re.compile(
            r"was not delivered to:|wurde nicht zugestellt an:|(?:n'a|na) pas .t. (?:remis|distribu.) .:"
            r"|is niet bezorgd bij:|no se ha entregado a:|non . stato consegnato a:"
            r"|the message that you sent was undeliverable to the following"
        ),
        re.compile(r"will be retried|noch nicht zugestellt"),
    ),
)

"""Lotus Notes and Domino, Novell GroupWise: ``was not delivered to: ... because: ...``."""

from __future__ import annotations

from bounce.parsers.free_text import BounceForm
from bounce.parsers.phrases import any_of

FORMS = (
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

"""Last resort: flufl.bounce, for formats that only it knows. It yields addresses; the reason is taken from the text.

Invariants: It sees only the mail system's free text, as one short plain part, so that neither nesting nor length of the
mail matters.
"""

from __future__ import annotations

import logging
from email.message import Message

from flufl.bounce import all_failures

from bounce.parsers.free_text import FreeTextBounce, FreeTextRecipient, reported
from bounce.parsers.mime import Mail
from bounce.parsers.report_kinds import ReportedRecipient

MAX_TEXT = 12_000  # characters


def read_heuristically(mail: Mail, text: FreeTextBounce) -> tuple[ReportedRecipient, ...]:
    """Return the addresses that flufl.bounce finds in ``text``."""
    copy = Message()
    for name in ("from", "subject", "x-failed-recipients"):
        if value := mail.fields.get(name):
            copy[name] = value
    copy["Content-Type"] = "text/plain"
    copy.set_payload("\n".join(text.lines)[:MAX_TEXT] + "\n")
    logging.getLogger("flufl.bounce").setLevel(logging.CRITICAL + 1)  # it logs what it cannot parse
    try:
        delayed, failed = all_failures(copy)
    except Exception:  # third-party heuristics on arbitrary text: any error means "nothing found"
        return ()
    found = [(one, False) for one in sorted(failed)] + [(one, True) for one in sorted(delayed)]
    lines = list(text.lines) if len(found) == 1 else []
    parts = [
        reported(FreeTextRecipient(one.decode("utf-8", "replace"), lines), [], is_delay, own=False)
        for one, is_delay in found
    ]
    return tuple(part for part in parts if part.address)

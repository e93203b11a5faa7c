"""flufl.bounce, for the formats that only it knows. It gives addresses without reasons; the
reason is sought in the words around them, and is nobody's own finding.

It must never see the mail itself: only the mail system's own words, as one short plain part, so that neither depth nor
length can hurt it.

*Limits.* Whatever it raises means "nothing found".
"""

from __future__ import annotations

import logging
from email.message import Message

from flufl.bounce import all_failures

from bounce.parsers.free_text import FreeTextBounce, FreeTextRecipient, reported
from bounce.parsers.kinds import Reported
from bounce.parsers.mime import Mail

MAX_WORDS = 12_000  # characters


def read_anything(mail: Mail, notice: FreeTextBounce) -> tuple[Reported, ...]:
    """The addresses that flufl.bounce finds in the words of ``mail``."""
    copy = Message()
    for name in ("from", "subject", "x-failed-recipients"):
        if value := mail.fields.get(name):
            copy[name] = value
    copy["Content-Type"] = "text/plain"
    copy.set_payload("\n".join(notice.lines)[:MAX_WORDS] + "\n")
    logging.getLogger("flufl.bounce").setLevel(logging.CRITICAL + 1)  # it logs what it cannot read
    try:
        delayed, failed = all_failures(copy)
    except Exception:  # heuristics of others on any text: they may fail in any way
        return ()
    found = [(False, one) for one in sorted(failed)] + [(True, one) for one in sorted(delayed)]
    lines = list(notice.lines) if len(found) == 1 else []
    parts = [
        reported(FreeTextRecipient(one.decode("utf-8", "replace"), lines), [], later, own=False) for later, one in found
    ]
    return tuple(part for part in parts if part.address)

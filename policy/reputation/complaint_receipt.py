"""Write receipts for people's complaints and requests: that they came, and what follows from them.

The texts are in ``config/languages``.

Invariants: nothing that the writer wrote is repeated, so that a forged complaint carries nobody's words to the person
in whose name it was written.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC
from enum import Enum

from mta.mail.reply import sanitise
from policy.correspondence import framed, wrap
from policy.languages import TextLanguage, load_texts
from policy.local_format import LocalFormat

WIDTH = 76
SENDERS = 500  # characters of their names


class ReceiptKind(Enum):
    """What became of the mail."""

    COMPLAINT = "complaint"  # a case was opened, and mail is stopped
    STOPPED = "stopped"  # mail is stopped, as asked for
    UNKNOWN = "unknown"  # it does not say which mail it is about


def write_receipt(
    kind: ReceiptKind, language: TextLanguage, issuer: str, *, senders: Sequence[str] = (), case: str | None = None
) -> tuple[str, str]:
    """Return the subject and the text. ``senders``: whose mail is stopped; ``issuer``: who runs the service; ``case``:
    the number of the case. Raises ConfigError."""
    words = load_texts()[language].receipts
    named = sanitise(LocalFormat(language, UTC).join(senders), SENDERS)
    paragraphs = [words.texts[kind.value].format(senders=named)]
    if case:
        paragraphs.append(words.case.format(case=case))
    paragraphs.append(words.automatic)
    text = "\n\n".join("\n".join(wrap(each, WIDTH)) for each in paragraphs)
    return words.subjects[kind.value], framed([text], language, issuer)

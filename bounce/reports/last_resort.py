"""flufl.bounce, for the formats that only it knows. It gives addresses without reasons, so nothing here is hard.

It must never see the mail itself: only the mail system's own words, as one short plain part, so that neither depth nor
length can hurt it.

*Limits.* Whatever it raises means "nothing found".
"""

from __future__ import annotations

from email.message import Message

from flufl.bounce import all_failures

from bounce.reports.kinds import Fate, Reported
from bounce.reports.mime import Mail
from bounce.reports.notice import Notice, address_of
from bounce.reports.replies import reply_of

MAX_WORDS = 12_000  # characters


def read_anything(mail: Mail, notice: Notice) -> tuple[Reported, ...]:
    """The addresses that flufl.bounce finds in the words of ``mail``."""
    copy = Message()
    for name in ("from", "subject", "x-failed-recipients"):
        if value := mail.fields.get(name):
            copy[name] = value
    copy["Content-Type"] = "text/plain"
    copy.set_payload("\n".join(notice.lines)[:MAX_WORDS] + "\n")
    try:
        delayed, failed = all_failures(copy)
    except Exception:  # heuristics of others on any text: they may fail in any way
        return ()
    found = [(Fate.FAILED, one) for one in sorted(failed)] + [(Fate.DELAYED, one) for one in sorted(delayed)]
    return tuple(
        Reported(
            fate, address, address, "5.0.0" if fate is Fate.FAILED else "4.0.0", reply_of("", "", fate is Fate.FAILED)
        )
        for fate, octets in found
        if (address := address_of(octets.decode("utf-8", "replace"))) is not None
    )

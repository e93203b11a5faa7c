"""Read a script's rules from text, as `mta sink --rule` takes them.

    STAGE [WHO] [SHARE%]: ACT, then ACT ...

    rcpt grey*@*: 451 4.7.1 come back, then ok      the first hit of each recipient, and all later ones
    end 5%: 451 4.3.0 try later                     one message in twenty
    connect: wait 20s                               a slow greeting
    rcpt busy*: 421 4.3.2 too busy and close
    end lost@*: close                               no reply at all

An act waits (``wait 2s``), says its reply octet by octet (``drip 100ms``), says a reply (``ok``: the usual one), and
then closes, resets or hangs, in this order; each part may be left out.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from mta.testing.script import AfterReply, ReceiverStage, ScriptedReply, ScriptRule

_ENDS = {
    "close": AfterReply.CLOSE,
    "reset": AfterReply.RESET,
    "hang": AfterReply.HANG,
    "deaf": AfterReply.DEAF,
    "flood": AfterReply.FLOOD,
}
_HEAD = re.compile(r"(?P<stage>[a-z]+)(?: +(?P<who>[^ %]+))?(?: +(?P<share>\d{1,3}(?:\.\d+)?)%)?")
_TIMED = re.compile(r"(wait|drip) +(\S+) *(.*)")
_REPLY = re.compile(r"[2345]\d\d .+")
_END = re.compile(rf"(?:(.*) and )?({'|'.join(_ENDS)})")


def parse_rule(text: str, parse_span: Callable[[str], float]) -> ScriptRule:
    """Return the rule. ``parse_span``: seconds of ``2s`` or ``100ms``. Raises ValueError with the cure."""
    head, colon, acts = text.partition(":")
    match = _HEAD.fullmatch(head.strip().lower())
    if not (match and colon and acts.strip()):
        raise ValueError(f"{text!r} is not a rule: STAGE [WHO] [SHARE%]: ACT, such as 'rcpt full*@*: 452 4.2.2 full'")
    stages = {stage.name.lower(): stage for stage in ReceiverStage}
    if match["stage"] not in stages:
        raise ValueError(f"{match['stage']!r} is not a stage: {', '.join(stages)}")
    share = float(match["share"] or 100) / 100
    if not 0 < share <= 1:
        raise ValueError(f"{match['share']}% is not a share: more than 0, at most 100")
    said = tuple(_parse_act(act.strip(), parse_span) for act in acts.split(", then "))
    return ScriptRule(stages[match["stage"]], match["who"] or "*", said, share)


def _parse_act(text: str, parse_span: Callable[[str], float]) -> ScriptedReply:
    rest, times = text, {"wait": 0.0, "drip": 0.0}
    while match := _TIMED.fullmatch(rest):
        times[match[1]], rest = parse_span(match[2]), match[3]
    end = AfterReply.STAY
    if match := _END.fullmatch(rest):
        end, rest = _ENDS[match[2]], match[1]
    if rest is None:  # only an end: nothing is said before it
        return ScriptedReply(b"", times["wait"], times["drip"], end)
    if rest in ("", "ok"):
        return ScriptedReply(None, times["wait"], times["drip"], end)
    if not _REPLY.fullmatch(rest):
        raise ValueError(
            f"{text!r} is not an act: ok, a reply such as '451 4.7.1 later', wait 2s, drip 100ms, close, reset or hang"
        )
    return ScriptedReply(f"{rest}\r\n".encode(), times["wait"], times["drip"], end)

"""The event log as people read it: one short line for each thing that happens, as it happens.

*Limits.* Shows what an onlooker of the demo wants to see, not every field: that is what the log itself is for.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

LOOK_EVERY = 0.2  # seconds

_STYLES = {"accepted": "cyan", "delivered": "green", "deferred": "yellow", "failed": "red", "rejected": "magenta"}


async def follow(path: Path, console: Console) -> None:
    """Print what is added to the file from now on, until cancelled."""
    with open(path, "rb") as file:  # noqa: ASYNC230  a local file, a few lines at a time
        file.seek(0, 2)
        rest = b""
        while True:
            *lines, rest = (rest + file.read()).split(b"\n")
            for line in lines:
                if text := describe(json.loads(line)):
                    console.print(text)
            await asyncio.sleep(LOOK_EVERY)


def describe(event: dict[str, Any]) -> str | None:
    """One line with markup, None for events that do not concern a message."""
    kind = event["event"]
    if kind not in _STYLES:
        return None
    if kind == "accepted":
        what = f"{event['id']} from {event['sender']} for {event['recipients']} recipient(s)"
    else:
        subject = event.get("recipient") or event.get("sender") or event.get("client")
        what = f"{event.get('id', '')} {subject}: {event['code']} {event['status']} {event['text']}".lstrip()
    if rule := event.get("rule"):
        what += f" (rule {rule})"
    if until := event.get("until"):
        what += f", again at {until[11:19]} UTC"
    return f"{event['at'][11:19]} [{_STYLES[kind]}]{kind:9}[/] {escape(what)}"

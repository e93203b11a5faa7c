"""Stream: a credential sends only the streams it was created for, and marketing mail has an envelope sender.

A password leaked from a shop's order system must not be usable for a newsletter, nor the reverse. What bounces from
MAIL FROM:<> reaches no one and cleans no list; such mail should be delivery reports and automatic replies (RFC 5321
4.5.5).

Limitations: uses the stream the message was assigned to; whether its content matches is not judged.
"""

from __future__ import annotations

from datetime import datetime

from config.types import Section
from mta.mail.message import Message, Stream
from mta.mail.reply import Reply
from policy.base import Facts, Pass, Refuse, Verdict
from policy.rule_context import RuleContext


class StreamAllowed:
    name = "stream"

    class Settings(Section):
        """No settings: streams belong to the credential."""

    def __init__(self, settings: Settings, context: RuleContext) -> None:
        pass

    def on_content(self, message: Message, facts: Facts, now: datetime) -> tuple[Verdict, str]:
        stream, allowed = facts.stream, facts.grant.streams
        if stream is Stream.MARKETING and message.envelope.sender is None:
            text = (
                "stream: marketing mail needs an envelope sender, for bounces reach no one without; "
                "send MAIL FROM:<address> instead of MAIL FROM:<>"
            )
            return Refuse(Reply(550, "5.7.1", text)), ""
        if stream in allowed:
            return Pass(), f"{stream.value} allowed"
        credential = message.origin.credential
        who = f'credential "{credential}"' if credential else "this client"
        others = " and ".join(sorted(f"{other.value} mail" for other in allowed)) or "nothing"
        text = (
            f"stream: {who} may send {others}, this message is {stream.value}; use a credential for {stream.value} mail"
        )
        return Refuse(Reply(550, "5.7.1", text)), ""

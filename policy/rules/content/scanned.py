"""Scanned: what the content scanners said of the message.

The asking is done before (``mta.submission.content_scan.scanners``), beside everything else that takes time; this
rule heeds the answers.

It must never take a scanner's silence for its consent: a scanner that the profile needs and that has not spoken puts
the message off.

*Limits.* Whether a scanner's failure may be overlooked is the scanner's own setting (``on_failure``).
"""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import Field

from config.types import Section
from mta.mail.message import Message
from mta.mail.reply import Reply
from policy.base import Facts, Pass, Refuse, Verdict
from policy.rule_context import RuleContext


class Scanned:
    name = "scanned"
    needs_scans = True

    class Settings(Section):
        """Whose word is needed."""

        required: list[Literal["rspamd", "clamav"]] = Field(default_factory=list)
        """Scanners without whose word nothing passes; the others are heeded if they are configured."""

    def __init__(self, settings: Settings, context: RuleContext) -> None:
        self._required = tuple(settings.required)

    def on_content(self, message: Message, facts: Facts, now: datetime) -> tuple[Verdict, str]:
        for scan in facts.scans:
            if scan.refused is not None:
                text = f"scanned: {scan.scanner} found {scan.refused}; remove that from the message"
                return Refuse(Reply(550, "5.7.1", text)), ""
        for scan in facts.scans:
            if scan.later is not None:
                text = f"scanned: {scan.scanner} puts the message off ({scan.later}); try again later"
                return Refuse(Reply(451, "4.7.1", text)), ""
        for scan in facts.scans:
            if scan.failed is not None:
                text = f"scanned: {scan.scanner} could not look at the message ({scan.failed}); try again later"
                return Refuse(Reply(451, "4.7.1", text)), ""
        asked = {scan.scanner for scan in facts.scans}
        for scanner in self._required:
            if scanner not in asked:
                text = f"scanned: {scanner} must look at the message and is not configured; tell the postmaster"
                return Refuse(Reply(451, "4.3.5", text)), ""
        return Pass(), "; ".join(f"{scan.scanner}: {scan.evidence or 'clean'}" for scan in facts.scans) or "no scanner"

"""Scanned: the verdicts of the content scanners.

The scanners are asked before (``mta.submission.content_scan``), in parallel with other slow work; this rule
applies their answers.

Invariants: silence is never consent: without the verdict of a required scanner the message is deferred.

Limitations: whether a scanner's failure may be ignored is set for the scanner (``on_failure``).
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
        """Which scanners are required."""

        required: list[Literal["rspamd", "clamav"]] = Field(default_factory=list)
        """Scanners whose verdict is required; others apply if configured."""

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

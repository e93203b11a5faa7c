"""CFBL: ``CFBL-Address`` tells mailbox providers where to send complaints, ``CFBL-Feedback-ID`` which mail they are
about
(RFC 9477).

The id is a token of ours, so that even a redacted complaint identifies recipient, account and mailing. If complaints
go to
a domain other than the From domain, that domain must sign too (RFC 9477 3.1.3): it does if it has a key
(``mta dkim new``).

Invariants: the fields never contain a recipient's address.

Limitations: without such a key providers may ignore the address.
"""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from config.types import Section
from mta.mail.message import Message
from policy.base import Amend, Facts, Pass, Verdict
from policy.header_fields import fold
from policy.permission.recipient_claim import claim
from policy.rule_context import RuleContext

ADDRESS, ID = "CFBL-Address", "CFBL-Feedback-ID"


class Cfbl:
    name = "cfbl"
    personal = True

    class Settings(Section):
        """Report format."""

        report: Literal["arf", "xarf"] = "arf"
        """The report format to request."""

    def __init__(self, settings: Settings, context: RuleContext) -> None:
        self._context, self._report = context, settings.report

    def on_content(self, message: Message, facts: Facts, now: datetime) -> tuple[Verdict, str]:
        if self._context.returns is None:
            return Pass(), "no domain takes complaints (return_path.domain)"
        address = f"fbl@{self._context.returns}"
        fields = (
            fold(ADDRESS, [f"{address};", f"report={self._report}"]),
            fold(ID, [self._context.tokens.make(claim("c", message, facts))]),
        )
        return Amend(fields, f"{ADDRESS}: {address}", signers=(self._context.returns,)), ""

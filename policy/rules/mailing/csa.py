"""CSA: members of the Certified Senders Alliance state in ``X-CSA-Complaints`` where to complain about their mail.

Limitations: whether the sending addresses are certified is not known here.
"""

from __future__ import annotations

from datetime import datetime

from pydantic import Field

from config.types import Section
from mta.mail.message import Message
from policy.base import Amend, Facts, Verdict
from policy.header_fields import fold
from policy.rule_context import RuleContext

FIELD = "X-CSA-Complaints"


class CsaComplaints:
    name = "csa"

    class Settings(Section):
        """Where complaints go."""

        address: str = Field("csa-complaints@eco.de", pattern=r"^[!-~]+@[A-Za-z0-9.-]+$", max_length=254)
        """The address in `X-CSA-Complaints`."""

    def __init__(self, settings: Settings, context: RuleContext) -> None:
        self._field = fold(FIELD, [settings.address])

    def on_content(self, message: Message, facts: Facts, now: datetime) -> tuple[Verdict, str]:
        return Amend((self._field,), self._field.decode()), ""

"""An account with mail in its queue, a desk with clocks of its own, and a clock that can be moved."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from mta.store.queue.enqueue import NewMessage
from mta.store.reputation.cases import Desk, Rung
from mta.store.store import Store
from policy.accounts.account import SERVICE_ACCOUNT, AccountStatus
from policy.reputation.complaint import Case, Clocks, Complaint, Occasion, Source
from tests.unit.mta.store import make

HOUR = timedelta(hours=1)
SPOTLER = Clocks(answer_within="24h")  # type: ignore[arg-type]


@dataclass
class Desktop(Desk):
    """Keeps what was written: occasion, cases, remark; and of which cases the desk was reminded. ``deaf``: nobody can
    be written to."""

    settings: Clocks = SPOTLER
    deaf: bool = False
    written: list[tuple[Occasion, list[str], str]] = field(default_factory=list)
    reminded: list[list[str]] = field(default_factory=list)

    def clocks(self, profile: str) -> Clocks:
        return self.settings

    def letter(self, occasion: Occasion, cases: Sequence[Case], now: datetime, remark: str = "") -> NewMessage | None:
        if self.deaf:
            return None
        self.written.append((occasion, [case.number for case in cases], remark))
        return make.accepted("ann@shop.example", account_id=SERVICE_ACCOUNT, sender=None)

    def reminder(self, cases: Sequence[Case], now: datetime) -> NewMessage | None:
        self.reminded.append([case.number for case in cases])
        return make.accepted("desk@mta.example", account_id=SERVICE_ACCOUNT, sender=None)


@dataclass
class Rig:
    store: Store
    account_id: int
    desk: Desktop
    now: datetime

    async def opened(self, source: Source = Source.RECIPIENT, summary: str = "spam", **more: Any) -> int:
        return await self.store.cases.open(Complaint(self.account_id, source, summary, **more))

    async def ring(self, hours: float = 0) -> Rung:
        """Move the clock, and look."""
        self.now += hours * HOUR
        return await self.store.cases.clocks.ring(self.desk, self.now)

    async def answer(self, case: int) -> None:
        await self.store.cases.answer(case, text="sorry", by="ann", now=self.now)

    async def agree(self, case: int, terms: str = "t") -> Any:
        return await self.store.cases.agree(case, self.desk, terms=terms, by="desk", now=self.now)

    async def close(self, case: int, *, upheld: bool, may_terminate: bool = False) -> Any:
        return await self.store.cases.close(
            case, self.desk, upheld=upheld, reason="r", by="desk", may_terminate=may_terminate, now=self.now
        )

    async def state(self, case: int) -> str:
        return (await self.store.cases.show(case)).case.state.value

    async def status(self) -> tuple[str, str]:
        row = await make.row(
            self.store, "select status::text as s, complaint_case as c from account where id = $1", self.account_id
        )
        return row["s"], row["c"]

    async def queue(self, mail: int = 1) -> None:
        for n in range(mail):
            await self.store.messages.enqueue(
                make.accepted(f"reader{n}@example.net", account_id=self.account_id), leased=False
            )

    async def queued(self, which: str) -> int:
        return await make.count(self.store, f"queue where account_id = {self.account_id} and {which}")


async def open_rig(store: Store, **desk: Any) -> Rig:
    account = await store.accounts.add("shop", status=AccountStatus.ACTIVE, profile="spotler")
    return Rig(store, account.id, Desktop(**desk), datetime.now(UTC))

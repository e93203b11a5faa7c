"""An SMTP receiver that follows a script: the far end of the demo, the tests and the crash harness.

It is as friendly as it is fast (thousands of messages a second) until a rule of its ``Script`` says otherwise: refuse,
delay, drip, garble, hang, hang up. What it took is in its ``Ledger``: the octets, the envelope with its parameters,
the connection.

    receiver = Receiver(Script(rules=MANNERS))
    port = await receiver.start("127.0.0.2")

*Limits.* One process.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import cast

from mta.demo.ledger import Ledger
from mta.demo.script import ReceiverStage, Script, ScriptRule
from mta.demo.session import ReceiverSession


class Receiver:
    """``script`` may be exchanged; sessions that are open keep theirs."""

    def __init__(self, script: Script | None = None, ledger: Ledger | None = None) -> None:
        self.script = script or Script()
        self.ledger = ledger or Ledger()
        self._hits: Counter[tuple[ScriptRule, str]] = Counter()
        self._sessions: set[ReceiverSession] = set()
        self._servers: list[asyncio.Server] = []

    async def start(self, address: str = "127.0.0.1", port: int = 0) -> int:
        """Listen there too; the port (0: a free one is chosen). Raises OSError."""
        server = await asyncio.get_running_loop().create_server(
            lambda: ReceiverSession(self.script, self.ledger, self._sessions, self._hits),
            address,
            port,
            backlog=4096,
            ssl=self.script.tls if self.script.implicit_tls else None,
        )
        self._servers.append(server)
        return cast(int, server.sockets[0].getsockname()[1])

    def hits(self, stage: ReceiverStage) -> int:
        """How often rules for ``stage`` have applied."""
        return sum(count for (rule, _), count in self._hits.items() if rule.stage is stage)

    async def stop(self) -> None:
        """Stop listening and cut every session off."""
        for server in self._servers:
            server.close()
        for session in list(self._sessions):
            session.cut()
        self.ledger.close()

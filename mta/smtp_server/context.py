"""What the sessions of one process share: the next stage, the limits, and who is connected.

*Limits.* A value replaced at a reload holds from a session's next command on.
"""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass, field
from typing import Protocol

from config.schema import Limits
from mta.observe.events import EventLog
from mta.observe.metrics import Metrics
from mta.observe.trace import Trace
from mta.smtp_server.auth.authenticator import Authenticator
from mta.smtp_server.client import MessageHandler
from mta.smtp_server.limits import Connections, MemoryBudget


class OpenSession(Protocol):
    """A session, as those see it who may end it. ``task`` ends when its connection is closed."""

    @property
    def task(self) -> asyncio.Task[None]: ...
    def finish(self) -> None: ...
    def cut(self) -> None: ...


@dataclass(slots=True, eq=False)
class ServerContext:
    """``room`` is for messages that are arriving. ``sessions`` holds each session until its connection is closed.

    ``authenticator`` None: no AUTH here, everybody may come and ``reception`` decides what is taken. ``home``: the
    domain of a bare ``postmaster`` (RFC 5321 4.5.1), None if nobody receives mail here.
    ``closing``: nobody is let in any more, and sessions end between transactions.
    """

    hostname: str
    limits: Limits
    tls: ssl.SSLContext
    reception: MessageHandler
    authenticator: Authenticator | None
    room: MemoryBudget
    trace: Trace
    events: EventLog
    metrics: Metrics
    home: str | None = None
    connections: Connections = field(default_factory=Connections)
    sessions: set[OpenSession] = field(default_factory=set)
    closing: bool = False

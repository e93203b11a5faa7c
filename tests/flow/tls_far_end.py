"""Receivers with certificates of every kind, the authority behind them, and hosts of MTA-STS policies."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import trustme

from mta.delivery.tls.session_counts import SessionCounts
from mta.testing.script import AfterReply, ReceiverStage, Script, ScriptedReply, ScriptRule, say

POLICY = "version: STSv1\r\nmode: {mode}\r\nmx: {mx}\r\nmax_age: 86400\r\n"


def policy(mode: str, mx: str) -> bytes:
    return POLICY.format(mode=mode, mx=mx).encode()


def served(certificate: trustme.LeafCert) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    return context


def starttls(context: ssl.SSLContext, *acts: ScriptedReply) -> Script:
    rules = (ScriptRule(ReceiverStage.STARTTLS, "*", acts),) if acts else ()
    return Script(tls=context, rules=rules)


def kinds(authority: trustme.CA, host: str) -> dict[str, Script]:
    """Receivers called ``host``, by what is wrong with their TLS."""
    valid = served(authority.issue_cert(host))
    yesterday = datetime.now(UTC) - timedelta(days=1)
    return {
        "valid": starttls(valid),
        "expired": starttls(served(authority.issue_cert(host, not_after=yesterday))),
        "wrong-name": starttls(served(authority.issue_cert("other.example"))),
        "self-signed": starttls(served(trustme.CA().issue_cert(host))),
        "stripped": Script(),
        "rejected": starttls(valid, say("454 4.7.0 TLS not available")),
        "broken": starttls(valid, say("220 go", end=AfterReply.CLOSE)),
        "injected": starttls(
            valid, ScriptedReply(reply=b"220 go\r\n250-EVIL\r\n250 SIZE 1\r\n250 2.1.0 sender ok\r\n")
        ),
    }


def told(counts: SessionCounts) -> dict[str, tuple[str, int, int, list[str]]]:
    """What TLS reports would say: by domain, the policy type, successful and failed sessions, result types."""
    return {
        each.domain: (
            each.policy.kind.value,
            each.successful,
            each.failed,
            sorted(failure.result.value for failure in each.failures),
        )
        for each in counts.take()
    }


@dataclass
class PolicyHost:
    """Answers every request on a connection with ``status`` and ``body``. ``requests``: their first lines."""

    body: bytes
    status: str = "200 OK"
    media_type: str = "text/plain; charset=utf-8"
    more: str = ""  # header lines
    requests: list[str] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        self.requests.append(head.split(b"\r\n")[0].decode())
        writer.write(
            f"HTTP/1.1 {self.status}\r\nContent-Type: {self.media_type}\r\nContent-Length: {len(self.body)}\r\n"
            f"{self.more}Connection: close\r\n\r\n".encode()
            + self.body
        )
        await writer.drain()
        writer.close()


@asynccontextmanager
async def policy_host(host: PolicyHost, context: ssl.SSLContext, address: str = "127.0.0.3") -> AsyncIterator[int]:
    """The port at which the host answers."""
    server = await asyncio.start_server(host.serve, address, 0, ssl=context)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()

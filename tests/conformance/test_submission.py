"""Every clause in the tables for submission, on the wire, towards one running service."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest
import pytest_asyncio

from bench.service import free_port
from mta.testing.script import MANNERS, Script
from tests.conformance.dialogue import Check, read_table
from tests.conformance.server import Place, ServerDialogue
from tests.flow.harness import World

pytestmark = pytest.mark.asyncio(loop_scope="module")

TABLES = ("submission_smtp", "submission_extensions", "submission_content")
CHECKS = [check for table in TABLES for check in read_table(table)]
MESSAGE_SIZE = 200_000
RECIPIENTS = 100


@dataclass(frozen=True, slots=True)
class Submission:
    """The service, where its listeners are, and a login."""

    world: World
    ports: dict[str, int]
    secret: str

    def place(self, check: Check) -> Place:
        words = check.places
        port = next((self.ports[word] for word in words if word in self.ports), self.world.service.port)
        client = "127.0.0.9" if "stranger" in words else "127.0.0.1"
        return Place(port, client, implicit_tls="implicit" in words)

    def variables(self, check: Check) -> dict[str, str]:
        me = check.id.lower()
        head = f"From: ann@sender.example\r\nTo: you@example.com\r\nSubject: check {me}"
        received = "Received: from a.example by b.example; Mon, 3 Mar 2025 09:30:00 +0000\r\n"
        return {
            "me": me,
            "head": head,
            "sender": f"{me}@sender.example",
            "rcpt": f"{'unknown-' if 'failing' in check.places else ''}{me}@example.com",
            "hundred": "".join(f"RCPT TO:<{n}.{me}@example.com>\r\n" for n in range(RECIPIENTS)),
            "big": ("x" * 998 + "\r\n") * (MESSAGE_SIZE // 1000 + 1),
            "loop": received * 101,
            "path": received * 10,
            "secret": self.secret,
            "soon": f"{datetime.now(UTC) + timedelta(days=1):%Y-%m-%dT%H:%M:%SZ}",
            "plain": base64.b64encode(f"\0app\0{self.secret}".encode()).decode(),
        }


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def submission(world: World) -> AsyncIterator[Submission]:
    ports = {"plain": world.service.port, "starttls": free_port(), "implicit": free_port()}
    modes = {"plain": "none", "starttls": "starttls", "implicit": "implicit"}
    listeners = [{"address": "127.0.0.1", "port": port, "tls": modes[name]} for name, port in ports.items()]
    limits = {"message_size": f"{MESSAGE_SIZE}B", "recipients": RECIPIENTS, "connections_per_address": 100}
    world.receiver.script = Script(rules=MANNERS)
    world.domain("xn--bcher-kva.example.com", "127.0.0.2")
    await world.db.execute("update client_network set network = '127.0.0.1/32'")

    async def cli(*arguments: str) -> str:
        return await asyncio.to_thread(world.service.cli, *arguments)

    world.service.configure()
    await cli("dkim", "new", "sender.example", "--selector", "k", "--algorithm", "both")
    for selector in ("k-rsa", "k-ed25519"):
        await cli("dkim", "activate", "sender.example", selector, "--force")
    login = json.loads(await cli("account", "credential", "add", "shop", "--username", "app", "--json"))
    await world.start(submission={"listeners": listeners, "limits": limits})
    yield Submission(world, ports, login["secret"])


@pytest.mark.parametrize("check", CHECKS, ids=str)
async def test_clause(submission: Submission, check: Check, request: pytest.FixtureRequest) -> None:
    if check.deviation:
        request.applymarker(pytest.mark.xfail(reason=check.deviation, strict=True))
    await ServerDialogue(check, submission.place(check), submission.world, submission.variables(check)).play()

"""The demo's environment: directory, configuration, DKIM keys, receiver, name server and database.

    directory ▶ DKIM keys ▶ receiver on 127.0.0.2 to 127.0.0.4 ▶ name server with its addresses and the keys ▶ mta.toml

Invariants: Only the demo's own temporary directory and loopback addresses are used.
Limitations: All of 127.0.0.0/8 must be local, as on Linux.
"""

from __future__ import annotations

import asyncio
import os
import socket
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from config.load import load_file
from config.schema import Certificate
from mta.dkim.keys import Algorithm, new_pem, parse_key
from mta.dkim.records import record_name, record_text
from mta.smtp_server.tls import server_context
from mta.store.postgres.embedded import EmbeddedPostgres
from mta.store.postgres.migrate import migrate
from mta.store.postgres.secrets import Secrets
from mta.store.store import Store
from mta.testing.nameserver import NameServer, Node
from mta.testing.receiver import Receiver
from mta.testing.script import MANNERS, Script

DOMAIN = "demo.example"
RECEIVER, TARPIT, CLUB, DEAD = "127.0.0.2", "127.0.0.3", "127.0.0.4", "127.0.0.5"
KEYS = (("rsa", Algorithm.RSA), ("ed", Algorithm.ED25519))

_ZONE = {
    "inbox.example": Node(mx=((10, "mx.inbox.example"),)),
    "club.example": Node(mx=((10, "mx.club.example"),)),
    "tarpit.example": Node(mx=((10, "mx.tarpit.example"),)),
    "spare.example": Node(mx=((10, "dead.spare.example"), (20, "mx.inbox.example"))),
    DOMAIN: Node(mx=((10, "mx.inbox.example"),)),
    "mx.inbox.example": Node(a=(RECEIVER,)),
    "mx.club.example": Node(a=(CLUB,)),
    "mx.tarpit.example": Node(a=(TARPIT,)),
    "dead.spare.example": Node(a=(DEAD,)),
}

_CONFIG = """\
# Written by `mta demo`, deleted when it ends.
[server]
hostname = "mta.{domain}"
data_dir = "data"
workers = 2
shutdown_grace = "3s"

[[submission.listeners]]
address = "127.0.0.1"
port = {smtp}
tls = "starttls"
auth_without_tls = "loopback"

[queue]
retry_schedule = {retry}
poll = "200ms"

[dns]
servers = ["127.0.0.1:{dns}"]

[egress]
timeouts = {{ connect = "5s" }}

[return_path]
domain = "returns.{domain}"

[observe]
events = "{events}"
log_level = "warning"

[web]
port = {web}

[web.admin]
port = {admin}

[web.public]
port = {public}
url = "https://mta.{domain}"

[testing]
receiver_port = {receiver}
loopback_receivers = true

{keys}"""


@dataclass(frozen=True, slots=True)
class DemoEnvironment:
    """The running environment. ``txt``: all TXT records, to verify signatures with."""

    directory: Path
    smtp_port: int
    web_port: int
    admin_port: int
    public_port: int
    receiver: Receiver
    names: NameServer
    names_port: int
    txt: dict[str, str]

    @property
    def config(self) -> Path:
        return self.directory / "mta.toml"

    @property
    def events(self) -> Path:
        return self.directory / "events.log"

    async def close(self) -> None:
        """Stop the receiver and the name server."""
        await self.receiver.stop()
        await self.names.stop()


def new_directory() -> Path:
    """Create a temporary directory."""
    directory = Path(tempfile.mkdtemp(prefix="imprimatur-demo-"))
    os.chmod(directory, 0o711)  # noqa: S103  if started as root, the database runs as another user and needs access
    return directory


async def create(directory: Path, *, retry: tuple[str, ...], known_ports: bool = False) -> DemoEnvironment:
    """Create the environment. ``retry``: the schedule; ``known_ports``: the usual ones if free. Raises OSError."""
    async with AsyncExitStack() as undo:
        txt = _write_keys(directory)
        tls = server_context(Certificate(), hostname="mx.inbox.example", data_dir=directory / "receiver")
        assert tls
        receiver = Receiver(Script("mx.inbox.example", rules=MANNERS, tls=tls))
        undo.push_async_callback(receiver.stop)
        receiver_port = await receiver.start(RECEIVER)
        for address in (TARPIT, CLUB):
            await receiver.start(address, receiver_port)
        names = NameServer(_ZONE | {name: Node(txt=(text,)) for name, text in txt.items()})
        undo.push_async_callback(names.stop)
        names_port = await names.start()
        smtp, web, admin, public = (_free_port(port if known_ports else 0) for port in (2525, 8025, 8026, 8027))
        environment = DemoEnvironment(directory, smtp, web, admin, public, receiver, names, names_port, txt)
        environment.config.write_text(_config(environment, retry=retry, receiver=receiver_port))
        undo.pop_all()
    return environment


@asynccontextmanager
async def database(environment: DemoEnvironment) -> AsyncIterator[Store]:
    """Run a new PostgreSQL with the schema; delete it at the end. Raises EmbeddedError."""
    embedded = EmbeddedPostgres(environment.directory / "data" / "postgres")
    try:
        dsn = await asyncio.to_thread(embedded.start)
        await migrate(dsn)
        secrets = Secrets.load_or_create(environment.directory / "data" / "secret")
        store = await Store.open(dsn, load_file(environment.config).database, secrets)
        try:
            yield store
        finally:
            await store.close()
    finally:
        await asyncio.to_thread(embedded.remove)


def _config(environment: DemoEnvironment, *, retry: tuple[str, ...], receiver: int) -> str:
    return _CONFIG.format(
        domain=DOMAIN,
        smtp=environment.smtp_port,
        retry="[" + ", ".join(f'"{wait}"' for wait in retry) + "]",
        dns=environment.names_port,
        receiver=receiver,
        events=environment.events,
        web=environment.web_port,
        admin=environment.admin_port,
        public=environment.public_port,
        keys="\n".join(_key_section(selector) for selector, _ in KEYS),
    )


def _write_keys(directory: Path) -> dict[str, str]:
    """Create the DKIM keys; return their DNS records."""
    records = {}
    for selector, algorithm in KEYS:
        pem = new_pem(algorithm)
        with open(directory / f"{selector}.pem", "xb", opener=_private) as file:
            file.write(pem)
        key = parse_key(pem, domain=DOMAIN, selector=selector, source=f"{selector}.pem")
        records[record_name(key)] = record_text(key)
    return records


def _key_section(selector: str) -> str:
    return f'[[signing.keys]]\ndomain = "{DOMAIN}"\nselector = "{selector}"\nfile = "{selector}.pem"\n'


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _free_port(wanted: int) -> int:
    """Return ``wanted`` if it is free on 127.0.0.1, else any free port."""
    for port in (wanted, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise OSError("no free port on 127.0.0.1")

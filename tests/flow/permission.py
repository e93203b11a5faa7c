"""The world's account, made one that may send newsletters.

What the tests ask for is recorded through the store, as the command line does it, with the service's own secret.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiosmtplib

import config as profiles_of_config
from bench.service import merged
from config.schema import DatabaseSettings
from mta.demo.account import announce, opt_in, permit
from mta.demo.cases import newsletter
from mta.mail.reply import Reply
from mta.smtp_server.auth.authenticator import make_verifiers, new_secret
from mta.store.postgres.secrets import Secrets
from mta.store.store import Store
from policy.accounts.account import Grant, Stream
from policy.accounts.purpose import Purpose
from tests.flow.harness import SENDER, Submitted, World

HOST = "sender.example"
READER = "rita@example.com"
MAILING = "spring-1"
SECTIONS = {
    "web": {"public": {"url": "https://mta.sender.example"}},
    "return_path": {"domain": "returns.sender.example"},
}


@dataclass(frozen=True, slots=True)
class Shop:
    """The world's account, seen from its operator's desk."""

    store: Store
    world: World
    id: int

    async def agree(self, *readers: str, **how: Any) -> None:
        """Each of ``readers`` has agreed to be mailed."""
        given = [opt_in(reader, host=HOST, **how) for reader in readers]
        await self.store.consents.record(self.id, given, by="test")

    async def grant_invoices(self) -> None:
        """Let the world log in for transactional mail, which a review granted for "Hello"."""
        secret = new_secret()
        argon2, scram = await asyncio.to_thread(make_verifiers, secret)
        grant = Grant(frozenset({Stream.TRANSACTIONAL}), purposes=(Purpose("greeting", "Hello*"),))
        await self.store.credentials.add(self.id, "billing", argon2=argon2, scram=scram, grant=grant)
        self.world.login = "billing", secret

    async def announce(self, name: str = MAILING, *, confirmed: bool = True, **more: Any) -> str:
        return await announce(self.store, self.id, name, confirmed=confirmed, **more)

    async def send(self, *readers: str, mailing: str | None = MAILING, again: bool = True, **more: Any) -> Submitted:
        """Submit a newsletter; the first refusal at RCPT, or the answer to the final dot. ``again``: although readers
        may have had one of this mailing."""
        if again:
            await self.world.db.execute("delete from mailing_copy")
        fields = (
            {"X-MTA-Stream": "marketing"} | ({"X-MTA-Mailing": mailing} if mailing else {}) | more.pop("fields", {})
        )
        subject = more.pop("subject", "Offers")
        content = more.pop("content", None) or newsletter(SENDER, readers, subject, fields=fields, **more)
        try:
            return await self.world.submit(*readers, content=content)
        except aiosmtplib.SMTPResponseException as error:
            return Submitted(Reply.parse(error.code, error.message), None)


def _lenient(world: World) -> Path:
    """The profile ``cleverreach`` for mailings that are confirmed without a message: these tests write many."""
    file = world.directory / "cleverreach.toml"
    shipped = Path(profiles_of_config.__file__ or "").parent / "profiles" / file.name
    file.write_text(shipped.read_text().replace('reference = "required"', 'reference = "optional"'))
    return file


# Lets clients log in without TLS, as these tests do.
LOGIN = {"tls": "none", "auth_without_tls": "loopback"}


@asynccontextmanager
async def open_shop(world: World) -> AsyncIterator[Shop]:
    """The world's account, with a login for transactional mail."""
    secrets = Secrets.load_or_create(world.service.data / "secret")
    store = await Store.open(world.database_url, DatabaseSettings(), secrets)
    try:
        account = await store.accounts.find("shop")
        opened = Shop(store, world, account.account.id)
        await opened.grant_invoices()
        yield opened
    finally:
        await store.close()


@asynccontextmanager
async def shop(
    world: World, profile: str = "cleverreach", profiles: Sequence[Path] = (), **settings: Any
) -> AsyncIterator[Shop]:
    """The world's service, started, and its account under ``profile`` with a confirmed mailing and one reader."""
    async with open_shop(world) as opened:
        await permit(opened.store, opened.id, profile=profile)
        await opened.announce()
        await opened.agree(READER)
        policy = {"policy": {"profiles": [str(path) for path in (_lenient(world), *profiles)]}}
        port = {"address": "127.0.0.1", "port": world.service.port, **LOGIN}
        await world.start(**merged(SECTIONS | policy, merged({"submission": {"listeners": [port]}}, settings)))
        yield opened

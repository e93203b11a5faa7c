"""Real MTAs around the service: a Postfix that verifies signatures with OpenDKIM, and an Exim."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import trustme

from bench import programs
from bench.contenders import make_key
from bench.opendkim import Key, OpenDkim
from bench.postfix import Postfix
from tests.flow.harness import World, open_directory, open_world
from tests.peers.exim import Exim

POSTFIX_ADDRESS, EXIM_ADDRESS = "127.0.0.5", "127.0.0.6"
NOBODY = 65534


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory that Postfix and Exim can enter, whoever they run as."""
    with open_directory() as directory:
        yield directory


@pytest.fixture
def key(place: Path) -> Key:
    """The DKIM key of sender.example."""
    return make_key(place, "sender.example")


@pytest.fixture
async def world(place: Path, database_url: str, key: Key) -> AsyncIterator[World]:
    """The world of the flow tests, signing, and using TLS where it is offered."""
    async with open_world(place, database_url) as world:
        signing = {"keys": [{"domain": key.domain, "selector": key.selector, "file": str(key.private)}]}
        world.service.settings = {**world.service.settings, "signing": signing}
        world.service.settings["shaping"]["default"]["tls"] = "opportunistic"
        yield world


@pytest.fixture
async def postfix(world: World, place: Path, key: Key) -> AsyncIterator[Postfix]:
    """A Postfix that takes the mail of postfix.example into a maildir, with OpenDKIM's verdict in it."""
    if reason := programs.missing("master", "opendkim"):
        pytest.skip(reason)
    world.domain("postfix.example", POSTFIX_ADDRESS)
    certificate = place / "postfix.pem"
    trustme.CA().issue_cert("mx1.postfix.example").private_key_and_cert_chain_pem.write_to_path(str(certificate))
    mailbox = place / "postfix-mail"
    mailbox.mkdir()
    os.chown(mailbox, NOBODY, NOBODY)
    verifier = OpenDkim(place / "opendkim", key, sign=False)
    settings = {
        "myhostname": "mx1.postfix.example",
        "smtpd_relay_restrictions": "reject_unauth_destination",
        "virtual_mailbox_domains": "postfix.example",
        "virtual_mailbox_base": str(mailbox),
        "virtual_mailbox_maps": "static:all/",
        "virtual_uid_maps": f"static:{NOBODY}",
        "virtual_gid_maps": f"static:{NOBODY}",
        "smtpd_tls_security_level": "may",
        "smtpd_tls_chain_files": str(certificate),
        "smtpd_tls_received_header": "yes",
        **verifier.milter,
    }
    server = Postfix(place / "postfix", world.receiver_port, settings, address=POSTFIX_ADDRESS)
    await asyncio.to_thread(verifier.start)
    try:
        await asyncio.to_thread(server.start)
        yield server
    finally:
        await asyncio.to_thread(server.stop)
        await asyncio.to_thread(verifier.stop)


@pytest.fixture
async def exim(world: World, place: Path) -> AsyncIterator[Exim]:
    """An Exim that takes the mail of exim.example into a maildir."""
    if reason := programs.missing("exim4"):
        pytest.skip(reason)
    world.domain("exim.example", EXIM_ADDRESS)
    server = Exim(place / "exim", world.receiver_port, "exim.example", EXIM_ADDRESS)
    await asyncio.to_thread(server.start)
    try:
        yield server
    finally:
        await asyncio.to_thread(server.stop)

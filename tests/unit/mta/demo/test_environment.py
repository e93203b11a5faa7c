"""The demo's surroundings: a configuration the service accepts, receivers, and nothing left behind."""

from __future__ import annotations

import asyncio
import os
import stat
from pathlib import Path

from config.load import load_file
from mta.demo.environment import CLUB, DEAD, DOMAIN, RECEIVER, TARPIT, create


async def test_the_configuration_is_good_and_points_at_the_receivers(tmp_path: Path) -> None:
    environment = await create(tmp_path, retry=("1s", "2s"))
    try:
        settings = load_file(environment.config)
        assert settings.queue.retry_schedule == [1.0, 2.0]
        assert settings.testing.loopback_receivers
        assert [listener.port for listener in settings.submission.listeners] == [environment.smtp_port]
        assert settings.web.port == environment.web_port
        assert {key.selector for key in settings.signing.keys} == {"rsa", "ed"}
        assert settings.server.data_dir == environment.directory / "data"
        for address in (RECEIVER, TARPIT, CLUB):
            reader, writer = await asyncio.open_connection(address, settings.testing.receiver_port)
            assert (await reader.readline()).startswith(b"220 ")
            writer.close()
    finally:
        await environment.close()


async def test_private_keys_are_private_and_public_keys_are_published(tmp_path: Path) -> None:
    environment = await create(tmp_path, retry=("1s",))
    try:
        for selector in ("rsa", "ed"):
            assert stat.S_IMODE(os.stat(environment.directory / f"{selector}.pem").st_mode) == 0o600
            name = f"{selector}._domainkey.{DOMAIN}"
            assert environment.txt[name].startswith("v=DKIM1; k=")
            assert environment.names.zone[name].txt == (environment.txt[name],)
    finally:
        await environment.close()


def test_the_dead_host_is_none_of_the_receivers() -> None:
    assert DEAD not in (RECEIVER, TARPIT, CLUB)

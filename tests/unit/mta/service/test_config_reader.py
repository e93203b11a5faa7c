"""The configuration, read in a process of its own: what is right, every mistake, and a process that fails."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from config.toml import ConfigError
from mta.service import config_reader
from mta.service.config_reader import read_config
from mta.service.fork_server import ForkServer


@pytest.fixture
async def server() -> AsyncIterator[ForkServer]:
    made = ForkServer([config_reader.MODULE])
    yield made
    await made.close()


async def test_settings_and_remarks_come_back(server: ForkServer, tmp_path: Path) -> None:
    path = tmp_path / "mta.toml"
    source = '[[egress.sources]]\nname = "far"\naddress = "203.0.113.9"\n'
    path.write_text(f'[server]\nhostname = "mail.example.org"\n{source}')
    found = await read_config(server, path)
    assert found.settings.server.hostname == "mail.example.org"
    assert any("this machine has no address 203.0.113.9" in remark for remark in found.remarks)
    assert (await read_config(server, None)).settings.server.hostname != "mail.example.org"


async def test_every_mistake_comes_back(server: ForkServer, tmp_path: Path) -> None:
    path = tmp_path / "mta.toml"
    path.write_text('[server]\nhostnam = "x"\nworkers = -1\n')
    with pytest.raises(ConfigError) as raised:
        await read_config(server, path)
    assert [line.split(":")[1] for line in raised.value.lines] == ["2", "3"]


async def test_a_process_that_fails_is_a_mistake(
    server: ForkServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(config_reader, "MODULE", "tests.unit.mta.service.no_such_module")
    with pytest.raises(ConfigError, match="cannot be read: the process that reads it ended"):
        await read_config(server, tmp_path / "mta.toml")

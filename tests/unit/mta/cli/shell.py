"""An operator's shell: ``mta`` with a configuration for one test's database."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

from typer.testing import CliRunner, Result

from mta.cli.main import build
from mta.store.postgres.secrets import Secrets


class Operator:
    """``more``: lines of configuration after those for the database."""

    def __init__(self, folder: Path, database_url: str, secrets: Secrets, more: str = "") -> None:
        self.folder = folder
        (folder / "secret").write_text(secrets.root.hex())
        (folder / "secret").chmod(0o600)
        self.config = folder / "mta.toml"
        self.config.write_text(f'[server]\nsecret_file = "secret"\n[database]\nurl = "{database_url}"\n{more}')

    async def run(self, *words: str) -> Result:
        return await asyncio.to_thread(CliRunner().invoke, build(words[0]), [*words, "--config", str(self.config)])

    async def says(self, *words: str) -> str:
        """What the command prints; it must succeed."""
        result = await self.run(*words)
        assert result.exit_code == 0, result.output
        return result.stdout

    async def fails(self, *words: str, status: int = 1) -> str:
        """What the command prints on standard error; it must end with ``status``."""
        result = await self.run(*words)
        assert result.exit_code == status, result.output
        return result.stderr

    async def json(self, *words: str, status: int = 0) -> Any:
        result = await self.run(*words, "--json")
        assert result.exit_code == status, result.output
        return json.loads(result.stdout)

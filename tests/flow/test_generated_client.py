"""A client that another project's generator makes of the OpenAPI document sends a message and reads its events."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.flow.harness import World

GENERATOR = shutil.which("openapi-python-client")
PYTHON = Path(GENERATOR or "").resolve().parent / "python"  # with the libraries that generated clients need
CONFIG = """
post_hooks: []
content_type_overrides:
  application/x-ndjson: application/octet-stream
  text/csv: application/octet-stream
  message/rfc822: application/octet-stream
"""

pytestmark = pytest.mark.skipif(
    GENERATOR is None,
    reason="openapi-python-client is not on the PATH; install it into an environment of its own",
)


def run(*words: str | Path) -> str:
    done = subprocess.run(list(map(str, words)), capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def generate(folder: Path, document: str) -> None:
    """Make the package ``imprimatur_client`` in ``folder``; nothing of the document is left out."""
    assert GENERATOR is not None
    (folder / "openapi.json").write_text(document)
    (folder / "config.yaml").write_text(CONFIG)
    told = run(
        GENERATOR, "generate", "--path", folder / "openapi.json", "--config", folder / "config.yaml",
        "--meta", "none", "--output-path", folder / "imprimatur_client",
    )  # fmt: skip
    assert "warning" not in told.lower(), told


async def test_it_sends_a_message_and_reads_its_events(world: World, tmp_path: Path) -> None:
    assert GENERATOR is not None
    await world.start()
    mta = sys.executable, "-m", "mta"
    await asyncio.to_thread(generate, tmp_path, run(*mta, "config", "openapi"))
    words = ("token", "add", "app", "--role", "account", "--account", "shop")
    token = (await asyncio.to_thread(world.service.cli, *words)).strip()
    url = f"http://127.0.0.1:{world.service.admin_port}"
    script = Path(__file__).with_name("generated_client.py")
    told = json.loads(await asyncio.to_thread(run, PYTHON, script, tmp_path, url, token))
    assert (told["results"], told["kinds"]) == (["queued"], ["accepted", "delivered"])
    (receipt,) = world.taken
    assert b"Order 17" in receipt.content

"""Confirm mailings of the demo as its user would: by the command, with the message that is sent."""

from __future__ import annotations

import asyncio

from mta.demo.account import ACCOUNT
from mta.demo.environment import DemoEnvironment
from mta.demo.service import DemoError
from mta.isolation import python_command


async def confirm_mailing(environment: DemoEnvironment, name: str, content: bytes) -> None:
    """Run ``mta mailing confirm --message``. Raises DemoError with what it says.

    Limitations: the sites of the demo do not exist, so the pages behind its links are not looked at.
    """
    file = environment.directory / "newsletter.eml"
    await asyncio.to_thread(file.write_bytes, content)
    process = await asyncio.create_subprocess_exec(
        *python_command("mta", "mailing", "confirm", name, "--account", ACCOUNT, "--by", "A. Baker"),
        *("--message", str(file), "--skip-link-check", "--reason", "the sites of the demo do not exist"),
        *("--config", str(environment.config)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate()
    if process.returncode:
        raise DemoError(f"the mailing cannot be confirmed:\n{said.decode(errors='replace')}")

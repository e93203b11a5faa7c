"""SIGHUP and `mta reload`: a good file takes effect, a bad one changes nothing and is refused with its lines."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession

from bench.service import free_port
from tests.flow.harness import World


async def largest(world: World) -> str:
    """What the service says about SIZE."""
    async with world.client() as smtp:
        await smtp.ehlo()
        return smtp.esmtp_extensions["size"]


async def test_good_then_bad(world: World) -> None:
    await world.start(submission={"limits": {"message_size": "1MB"}})
    assert await largest(world) == "1000000"

    world.service.configure(submission={"limits": {"message_size": "2MB"}})
    told = await asyncio.to_thread(world.service.cli, "reload", "--dry-run")
    assert told.splitlines() == [
        "Would change:",
        "  submission.limits.message_size: 1000000, then 2000000",
        "For queued mail:",
        "  nothing",
    ]
    assert await largest(world) == "1000000"
    await asyncio.to_thread(world.service.cli, "reload")
    assert await largest(world) == "2000000"

    world.service.configure(submission={"limits": {"message_sise": "3MB"}})
    with pytest.raises(RuntimeError, match=r"mta\.toml:\d+.*message_sise"):
        await asyncio.to_thread(world.service.cli, "reload")
    assert await largest(world) == "2000000"
    await world.accept("ann@example.com")
    await world.received(1)


async def test_what_needs_a_restart_is_named_and_does_not_change(world: World) -> None:
    await world.start()
    told = await asyncio.to_thread(world.service.cli, "reload")
    assert told == "Configuration reloaded.\n"

    old, new = world.service.port, free_port()
    listener = {"address": "127.0.0.1", "port": new, "tls": "none"}
    world.service.configure(submission={"listeners": [listener]}, server={"workers": 2}, database={"lease": "40s"})
    told = await asyncio.to_thread(world.service.cli, "reload")
    assert told.splitlines() == [
        "Configuration reloaded.",
        "Needs a restart: server.workers: 1 in use, 2 after a restart",
        "Needs a restart: database.lease: 5s in use, 40s after a restart",
        f"Needs a restart: submission.listeners[0].port: {old} in use, {new} after a restart",
    ]
    await world.accept("ann@example.com")  # at the old port
    await world.received(1)
    assert '"after_a_restart":["server.workers: 1 in use' in world.service.output()


async def test_over_the_api_it_says_what_changes_and_which_line_is_wrong(world: World) -> None:
    await world.start(submission={"limits": {"message_size": "1MB"}})
    token = await asyncio.to_thread(world.service.cli, "token", "add", "ops", "--role", "operator")
    url = f"http://127.0.0.1:{world.service.admin_port}/v1"
    async with ClientSession(headers={"Authorization": f"Bearer {token.strip()}"}) as http:

        async def reload(**body: bool) -> tuple[int, dict[str, Any]]:
            async with http.post(f"{url}/service/reload", json=body) as answer:
                return answer.status, await answer.json(content_type=None)

        change = "submission.limits.message_size: 1000000, then 2000000"
        world.service.configure(submission={"limits": {"message_size": "2MB"}}, database={"lease": "40s"})
        status, told = await reload(dry_run=True)
        assert (status, told["changes"][0], told["queued_mail"]) == (200, "database.lease: 5s, then 40s", [])
        assert change in told["changes"]
        assert await largest(world) == "1000000"
        status, told = await reload()
        assert (status, told["needs_restart"]) == (200, ["database.lease: 5s in use, 40s after a restart"])
        assert change in told["changes"]
        assert await largest(world) == "2000000"
        assert (await reload())[1]["changes"] == []

        world.service.configure(submission={"limits": {"message_sise": "3MB"}})
        for dry_run in (True, False):
            status, told = await reload(dry_run=dry_run)
            assert status == 409
            (mistake,) = told["errors"]
            assert re.search(r"mta\.toml:\d+.*message_sise", mistake["detail"])
        assert await largest(world) == "2000000"
        async with http.get(f"{url}/audit", params={"action": "service.reload"}) as answer:
            rows = (await answer.json())["items"]
        assert [row["outcome"] for row in rows] == ["refused", "done", "done"]
        assert rows[2]["after"]["changes"] == ["database.lease: 5s, then 40s", change]


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not here")
async def test_the_example_of_the_manual(world: World) -> None:
    text = (Path(__file__).parents[2] / "docs" / "api.md").read_text()
    (block,) = (each for each in re.findall(r"```sh\n(.*?)```", text, re.DOTALL) if "/service/reload" in each)
    await world.start()
    token = await asyncio.to_thread(world.service.cli, "token", "add", "ops", "--role", "operator")
    script = "set -eu\n" + block.replace("curl -sS", "curl -sS -w '\\n' --noproxy '*' --fail-with-body")
    url = f"http://127.0.0.1:{world.service.admin_port}"
    environment = {"PATH": os.environ["PATH"], "URL": url, "OPERATOR": token.strip()}
    done = await asyncio.to_thread(
        subprocess.run, ["sh", "-c", script], env=environment, capture_output=True, text=True, check=True
    )
    told = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(each["dry_run"], each["changes"]) for each in told] == [(True, []), (False, [])]

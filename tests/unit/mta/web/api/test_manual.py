"""docs/api.md: each example is run with curl, and answered well."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
from pathlib import Path

import pytest

from mta.admin.permissions import Role
from tests.unit.mta.web.api.rig import Api

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not here"),
]

TEXT = (Path(__file__).parents[5] / "docs" / "api.md").read_text()
BLOCKS = re.findall(r"```sh\n(.*?)```", TEXT, re.DOTALL)


async def test_every_example_works(api: Api) -> None:
    assert len(BLOCKS) >= 10
    environment = {"PATH": os.environ["PATH"], "URL": api.url, "TOKEN": api.tokens["shop"]}
    for block in BLOCKS:
        script = "set -eu\n" + block.replace("curl -sS", "curl -sS --noproxy '*' --fail-with-body")
        run = await asyncio.create_subprocess_exec(
            "sh", "-c", script, env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
        output, _ = await run.communicate()
        assert run.returncode == 0, f"{block}\n{output.decode()}"
    for _ in range(400):
        job = (await api.get("/v1/jobs", by="shop")).json["items"][0]
        if job["state"] != "running":
            break
        await asyncio.sleep(0.05)
    told = (await api.get(f"/v1/jobs/{job['id']}", by="shop")).json
    assert (job["state"], job["result"]["read"], told["errors"]) == ("done", 1, [])


async def test_the_roles_are_those_of_the_code() -> None:
    assert re.findall(r"^\| `(\w+)` \|", TEXT, re.MULTILINE)[: len(Role)] == [role.value for role in Role]

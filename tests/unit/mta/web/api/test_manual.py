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
    assert len(BLOCKS) >= 18
    tokens = {"TOKEN": api.tokens["shop"], "OPERATOR": api.tokens["operator"]}
    environment = {"PATH": os.environ["PATH"], "URL": api.url, **tokens}
    for block in BLOCKS:
        if "/service/reload" in block:
            continue  # needs a supervisor: tests/flow/test_reload.py runs it
        script = "set -eu\n" + block.replace("curl -sS", "curl -sS --noproxy '*' --fail-with-body")
        run = await asyncio.create_subprocess_exec(
            "sh", "-c", script, env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
        output, _ = await run.communicate()
        assert run.returncode == 0, f"{block}\n{output.decode()}"
    async with asyncio.timeout(30):
        while True:
            jobs = (await api.get("/v1/jobs", by="shop")).json["items"]
            if all(job["state"] != "running" for job in jobs):
                break
            await asyncio.sleep(0.05)
    assert [(job["kind"], job["state"], job["result"]["fresh"]) for job in jobs] == [
        ("suppressions.import", "done", 1), ("consents.import", "done", 1),
    ]  # fmt: skip


async def test_the_roles_are_those_of_the_code() -> None:
    assert re.findall(r"^\| `(\w+)` \|", TEXT, re.MULTILINE)[: len(Role)] == [role.value for role in Role]

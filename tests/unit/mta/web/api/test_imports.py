"""Files that are imported: one at a time for each account, within the room there is, and nothing is left behind."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from mta.admin.errors import NoRoom
from mta.admin.files import import_jobs
from mta.admin.files.import_jobs import keep_file
from tests.unit.mta.web.api.rig import Answer, Api

pytestmark = pytest.mark.asyncio(loop_scope="module")

PATH = "/v1/consents/import"
LINE = b'{"address": "ann@example.net", "topics": "offers", "basis": "single_opt_in", "given_at": "2026-01-01"}\n'


async def hand_in(api: Api, body: Any = LINE, by: str = "shop") -> Answer:
    return await api.ask("POST", PATH, by=by, data=body, headers={"Content-Type": "application/x-ndjson"})


async def ended(api: Api, answer: Answer) -> Any:
    assert answer.status == 202, answer.text
    async with asyncio.timeout(10):
        while (job := (await api.get(f"/v1/jobs/{answer.json['id']}")).json)["state"] == "running":  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    return job


async def test_an_account_has_one_import_at_a_time(api: Api) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        yield LINE
        begun.set()
        await go_on.wait()

    first = asyncio.create_task(hand_in(api, slow()))
    await begun.wait()
    async with asyncio.timeout(10):
        while not api.port.imports._octets:  # noqa: ASYNC110 - it is on its way
            await asyncio.sleep(0.01)
    second = await hand_in(api)
    assert (second.status, "another import runs" in second.json["detail"]) == (409, True)
    assert (await ended(api, await hand_in(api, by="club")))["state"] == "done"
    go_on.set()
    assert (await ended(api, await first))["state"] == "done"
    assert (await ended(api, await hand_in(api)))["result"]["known"] == 0, "the file is known"
    assert api.port.imports._octets == {}


async def test_all_files_together_have_their_room(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(import_jobs, "MOST", len(LINE) - 1)
    answer = await hand_in(api)
    assert (answer.status, answer.headers["Retry-After"]) == (503, "5")
    assert api.port.imports._octets == {}
    monkeypatch.setattr(import_jobs, "MOST", len(LINE))
    assert (await ended(api, await hand_in(api)))["state"] == "done"


async def test_an_import_that_is_stopped_says_so(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    recording = asyncio.Event()

    async def endless(*_: object, **__: object) -> None:
        recording.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(api.store.consents, "record", endless)
    answer = await hand_in(api, LINE * 2)
    await recording.wait()
    await api.port.imports.close()
    job = await ended(api, answer)
    assert job["state"] == "failed"
    assert "the service was stopped; hand the same file in again" in job["errors"][-1]["text"]


async def given(*pieces: bytes | Exception) -> AsyncIterator[bytes]:
    for each in pieces:
        if isinstance(each, Exception):
            raise each
        yield each


async def test_a_file_has_no_name_and_what_was_not_written_is_told(tmp_path: Path) -> None:
    with await keep_file(given(b"a", b"b"), tmp_path, lambda _: None) as file:
        file.seek(0)
        assert (file.read(), os.listdir(tmp_path)) == (b"ab", [])
    with pytest.raises(RuntimeError):
        await keep_file(given(b"a", RuntimeError("gone")), tmp_path, lambda _: None)
    with pytest.raises(NoRoom):
        await keep_file(given(b"a", OSError("full")), tmp_path, lambda _: None)
    assert os.listdir(tmp_path) == []

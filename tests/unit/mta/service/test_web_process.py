"""The pages for recipients within their process: opened where they have a port, and changed by a reload."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import structlog
from aiohttp import ClientSession

from bench.service import free_port
from config.schema import Settings
from mta.observe.background import BackgroundTasks
from mta.observe.disk import DiskWatch
from mta.observe.metrics import Metrics
from mta.service.admin_side import AdminSide
from mta.service.composition import open_tokens
from mta.service.control_channel import Start
from mta.service.web_process import AdminListener, PublicSide, SupervisorLink, _configure
from mta.store.postgres.secrets import Secrets
from mta.store.store import Store, StoreUnavailable
from mta.web.readiness import ServiceReadiness
from policy.accounts.account import AccountStatus
from policy.permission.tokens import Claim
from tests.unit.mta.store.make import count

URL = "https://news.example.com"


def settings(port: int | None, **tokens: Any) -> Settings:
    return Settings.model_validate({"web": {"public": {"port": port, "url": URL}}, "tokens": tokens})


async def test_links_work_before_and_after_a_change_of_keys(store: Store, secrets: Secrets) -> None:
    await store.accounts.add("shop", domains=["acme.example"], status=AccountStatus.ACTIVE, verified=True)
    port = free_port()
    before, after = settings(port), settings(port, key=2)
    old, new = [
        open_tokens(each, secrets).make(Claim("u", 1, bytes([n]) * 16, "", ""))
        for n, each in enumerate((before, after))
    ]
    public = PublicSide(store, secrets, Metrics())
    await public.open(before)
    try:
        public.configure(after)
        async with ClientSession() as http:
            for done, token in enumerate((old, new), 1):
                url = f"http://127.0.0.1:{port}/u/{token}"
                async with http.post(url, data={"List-Unsubscribe": "One-Click"}) as answer:
                    assert answer.status == 200
                assert await count(store, "suppression") == done
    finally:
        await public.close()


async def test_an_operator_who_gave_links_but_no_port_is_told(store: Store, secrets: Secrets) -> None:
    public = PublicSide(store, secrets, Metrics())
    with structlog.testing.capture_logs() as logged:
        await public.open(settings(None))
        await public.open(Settings())
    assert [line["log_level"] for line in logged] == ["warning"]
    assert "web.public.port" in logged[0]["event"]
    await public.close()


API = "/v1/openapi.json"
SMALL = {"submission": {"limits": {"recipients": 123}}}


@pytest.fixture
async def admin(store: Store, secrets: Secrets, tmp_path: Path) -> AsyncIterator[tuple[AdminListener, str]]:
    """The port of the API, and its URL."""
    port = free_port()
    made = Settings.model_validate({"web": {"admin": {"port": port}}, "server": {"data_dir": str(tmp_path)}})
    metrics, disk = Metrics(), DiskWatch([tmp_path])
    start = Start(0, made, "", secrets.root, tmp_path)
    readiness, link = ServiceReadiness(store, tmp_path), SupervisorLink(Mock())
    listener = AdminListener(start, store, secrets, metrics, readiness, disk, link, BackgroundTasks(metrics))
    await listener.open(made)
    yield listener, f"http://127.0.0.1:{port}{API}"
    await listener.close()


async def status(url: str) -> int:
    async with ClientSession() as http, http.get(url) as answer:
        await answer.read()
        return answer.status


async def test_api_and_pages_are_built_once_by_the_first_requests(
    admin: tuple[AdminListener, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    listener, url = admin
    built: list[AdminSide] = []
    start = AdminSide.start

    async def counted(side: AdminSide, tasks: BackgroundTasks) -> None:
        built.append(side)
        await start(side, tasks)

    monkeypatch.setattr(AdminSide, "start", counted)
    listener.reopen()
    listener.configure(listener._settings)
    assert listener._side is None
    assert await asyncio.gather(*(status(url) for _ in range(5))) == [200] * 5
    assert built == [listener._side]
    listener.reopen()
    listener.configure(listener._settings)
    assert await status(url) == 200


@pytest.mark.parametrize(
    "sections",
    [{"observe": {"events": "none/events.log"}}, {"policy": {"trap_addresses": "none"}}],
    ids=["event log", "trap addresses"],
)
async def test_a_reload_of_which_a_part_fails_changes_nothing(
    admin: tuple[AdminListener, str],
    store: Store,
    secrets: Secrets,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    sections: dict[str, Any],
) -> None:
    monkeypatch.chdir(tmp_path)
    listener, url = admin
    public, before = PublicSide(store, secrets, Metrics()), listener._settings
    assert await status(url) == 200
    assert listener._side is not None
    sender, port = listener._side.submission.sender, listener._side._port
    after = before.model_copy(update={"submission": Settings.model_validate(SMALL).submission})
    bad = after.model_copy(update={name: getattr(Settings.model_validate(sections), name) for name in sections})
    with structlog.testing.capture_logs() as logged:
        assert not _configure(public, listener, bad)
    assert [line["event"] for line in logged] == ["reloaded settings not applied: the old ones stay in use"]
    assert (listener._settings, port._settings) == (before, before)
    assert sender.limits.recipients == before.submission.limits.recipients
    assert await status(url) == 200
    assert _configure(public, listener, after)
    assert sender.limits.recipients == 123


async def test_what_is_reloaded_while_api_and_pages_are_built_counts(
    admin: tuple[AdminListener, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    listener, url = admin
    after = listener._settings.model_copy(update={"submission": Settings.model_validate(SMALL).submission})
    start = AdminSide.start

    async def reloaded(side: AdminSide, tasks: BackgroundTasks) -> None:
        listener.configure(after)
        await start(side, tasks)

    monkeypatch.setattr(AdminSide, "start", reloaded)
    assert await status(url) == 200
    assert listener._side is not None
    assert listener._side._port._settings is after
    assert listener._side.submission.sender.limits.recipients == 123


async def test_api_that_cannot_be_built_now_is_built_later(
    admin: tuple[AdminListener, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(_side: AdminSide, _tasks: BackgroundTasks) -> None:
        raise StoreUnavailable("away")

    with monkeypatch.context() as patched:
        patched.setattr(AdminSide, "start", away)
        assert await status(admin[1]) == 503
    assert await status(admin[1]) == 200

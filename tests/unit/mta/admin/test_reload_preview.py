"""What a reload would mean for the mail that is queued."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest

from config.load import load_text
from config.schema import Settings
from mta.admin.service import reload_preview
from mta.admin.service.reload_preview import effects, settings_in_use
from mta.store.store import Store
from mta.testing.nameserver import NameServer, Node
from tests.unit.mta.store import make

TEXT = """
[dns]
servers = ["127.0.0.1:{port}"]
[[egress.sources]]
name = "one"
address = "127.0.0.1"
[[egress.sources]]
name = "two"
address = "127.0.0.2"
{more}
"""


def loaded(port: int, more: str = "") -> Settings:
    return load_text(TEXT.format(port=port, more=more), "mta.toml", Path())


async def test_queued_mail_is_counted_by_what_changes_for_it(store: Store) -> None:
    server = NameServer({"a.example": Node(mx=((10, "mx.a.example"),)), "mx.a.example": Node(a=("192.0.2.9",))})
    port = await server.start()
    old = loaded(port)
    for _ in range(3):
        await make.put(store, "ann@a.example")

    async def told(more: str) -> list[str]:
        return await effects(old, loaded(port, more), store)

    assert await told("") == []
    assert await told('[[shaping.sources]]\nsource = "one"\nmessage_rates = ["1/h"]\nconnections = 2') == [
        "mx.a.example from one (3 queued recipients): connections 20, then 2",
        "mx.a.example from one (3 queued recipients): message_rates not set, then 1/h: "
        "what is queued takes at least 3.0 h",
    ]
    moved = await told('[[shaping.providers]]\nname = "a"\ndomains = ["a.example"]')
    assert moved == ["3 queued recipients move from site mx.a.example to site a"]
    assert await told('[[shaping.warmup]]\nsource = "two"\nprovider = "gmail"') == [
        "source two begins to warm up at gmail: it sends no more there than its curve says"
    ]
    expired = await told('[shaping.default]\nexpire_after = "0s"')
    assert "mx.a.example: 3 queued recipients are older than the new expire_after, and fail" in expired
    without = load_text(TEXT.format(port=port, more="").replace('"two"', '"three"'), "mta.toml", Path())
    assert await effects(old, without, store) == [
        "source two goes: mail that waits for it takes another source of its pool"
    ]
    await server.stop()


async def test_what_is_not_counted_is_told(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    server = NameServer({})
    old = loaded(port := await server.start())
    for domain in ("a.example", "b.example", "c.example"):
        await make.put(store, f"ann@{domain}")
    pool = '[[egress.pools]]\nname = "p"\nmembers = [{ source = "one" }]'
    monkeypatch.setattr(reload_preview, "MAX_DESTINATIONS", 1)
    assert await effects(old, loaded(port, pool), store) == [
        "rules and pools: not counted; queued mail chooses its pool by the new ones when it is next due",
        "only the 1 largest destinations were looked up; 2 others were not",
    ]
    await server.stop()


def test_what_is_in_use_is_read_from_the_run_directory(tmp_path: Path) -> None:
    assert settings_in_use(tmp_path) is None
    kept: dict[str, Any] = {"name": "/etc/mta.toml", "base": "/etc", "text": '[server]\nhostname = "mail.example.com"'}
    (tmp_path / "config.json").write_bytes(orjson.dumps(kept))
    found = settings_in_use(tmp_path)
    assert found is not None
    assert found.server.hostname == "mail.example.com"

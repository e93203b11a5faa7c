"""``mta top``: one frame from given readings, and one picture of a real, idle installation."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

from rich.console import Console
from typer.testing import CliRunner

from mta.cli.main import build
from mta.cli.service.top import CounterReadings, StoreReading, TopFrame, draw
from mta.mail.identity import new_message_id
from mta.observe.labels import Encryption
from mta.observe.metric_files import prepare, totals
from mta.observe.metrics import Metrics
from mta.store.journal.events import Event
from mta.store.postgres.secrets import Secrets
from mta.store.queue.queue import Group
from mta.store.store import Store

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def shown(frame: TopFrame) -> str:
    console = Console(width=180)
    with console.capture() as capture:
        console.print(draw(frame))
    return capture.get()


def counts(run_dir: Path) -> CounterReadings:
    """Ten messages accepted in two seconds, eight delivered, half of them encrypted."""
    prepare(run_dir)
    metrics = Metrics.open(run_dir)
    before = totals(run_dir)
    metrics.messages_accepted[Encryption.YES].inc(10)
    metrics.recipients_delivered[Encryption.YES].inc(4)
    metrics.recipients_delivered[Encryption.NO].inc(4)
    metrics.sessions_open.set(3)
    metrics.ready_queues_in_backoff.set(2)
    metrics.accept_seconds.observe(0.02)
    return CounterReadings(totals(run_dir), before, before, 2.0)


def test_a_frame_shows_rates_queue_processes_and_troubles(tmp_path: Path) -> None:
    failed = Event(AT, new_message_id(), 0, "failed", {"code": 550, "status": "5.1.1", "text": "no [user]\nreally"})
    stored = StoreReading(
        [Group("ready", 7, 1, 0, 0, 2, AT, AT), Group("held", 2, 0, 0, 2, 0, AT, None)],
        [Group("club.example", 9, 1, 0, 2, 2, AT - timedelta(hours=3), AT + timedelta(minutes=5))],
        10800.0,
        [("bob@club.example", failed)],
    )
    child = {"name": "worker-0", "pid": 77, "seen_at": AT.timestamp() - 1, "restarts": 3}
    state = {"at": AT.timestamp(), "children": [child, {"name": "web", "pid": 78, "seen_at": 0}]}
    text = shown(TopFrame("mta.example", AT, counts(tmp_path), stored, state))
    for part in (
        "mta.example  2026-01-02 03:04:05 UTC  running",
        "messages accepted     5.0/s  10",
        "recipients delivered  4.0/s  8",
        "3 sessions",
        "2 in backoff",
        "50%",
        "ready    7",
        "held     2",
        "1 s ago, 3 restarts",
        "silent",
        "club.example",
        "3.0 h ago",
        "in 5 min",
        "bob@club.example",
        "550 5.1.1 no [user] / really",
    ):
        assert part in text, part + "\n" + text


def test_what_is_not_running_is_said(tmp_path: Path) -> None:
    text = shown(TopFrame("mta.example", AT, counts(tmp_path), StoreReading(problem="the database does not answer")))
    assert "not running, the database does not answer" in text
    silent = {"at": AT.timestamp() - 60, "children": []}
    assert "silent for 60 s" in shown(TopFrame("mta.example", AT, counts(tmp_path), StoreReading(), silent))


async def test_one_picture_of_a_real_installation(
    store: Store, database_url: str, secrets: Secrets, tmp_path: Path
) -> None:
    (tmp_path / "secret").write_text(secrets.root.hex())
    (tmp_path / "secret").chmod(0o600)
    run_dir = tmp_path / "run"
    prepare(run_dir)
    Metrics.open(run_dir).messages_accepted[Encryption.YES].inc(3)
    (run_dir / "state.json").write_text(json.dumps({"at": datetime.now(UTC).timestamp(), "children": []}))
    config = tmp_path / "mta.toml"
    config.write_text(f'[server]\nhostname = "mx.acme.example"\ndata_dir = "."\n[database]\nurl = "{database_url}"\n')
    arguments = ["top", "--once", "--config", str(config)]
    result = await asyncio.to_thread(CliRunner().invoke, build("top"), arguments)
    assert result.exit_code == 0, result.output
    assert "mx.acme.example" in result.stdout
    assert "running" in result.stdout
    assert "messages accepted     0.0/s  3" in result.stdout

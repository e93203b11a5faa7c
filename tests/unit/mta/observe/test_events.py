"""The event log's lines, and the thread that writes them."""

from __future__ import annotations

import errno
import ipaddress
import json
import os
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from mta.mail.address import Address
from mta.mail.delivery import (
    Action,
    Attempt,
    Classification,
    Deferred,
    Delivered,
    Delivery,
    Failed,
    Fault,
    Host,
    QueuedRecipient,
    Result,
    Stage,
)
from mta.mail.identity import format_id, new_message_id
from mta.mail.message import Envelope, Message, Origin, Recipient
from mta.mail.reply import Reply
from mta.observe import sink
from mta.observe.events import EventLog
from mta.observe.metrics import Metrics
from mta.observe.sink import NoSink, WriterSink, open_sink

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
ANN = Address("ann", "a.example")
LOOPBACK = ipaddress.ip_address("127.0.0.1")


class Kept(NoSink):
    """Keeps the lines for the test."""

    def __init__(self) -> None:
        self.lines: list[bytes] = []

    def write(self, line: bytes) -> None:
        self.lines.append(line)

    @property
    def last(self) -> dict[str, Any]:
        return json.loads(self.lines[-1])


def message() -> Message:
    origin = Origin(7, "shop", "shop-1", LOOPBACK, "client.example", "s1", "ESMTPSA", NOW, "TLSv1.3")
    return Message.of(new_message_id(), Envelope(None, (Recipient(ANN),)), origin, b"\r\nhello\r\n")


def attempt(reply: Reply) -> Attempt:
    recipient = QueuedRecipient(0, ANN, attempts=2)
    delivery = Delivery(
        new_message_id(),
        "a.example",
        Address("me", "s.example"),
        (recipient,),
        7,
        datetime.now(UTC) - timedelta(seconds=60),
        NOW,
        9,
    )
    host = Host("mx.a.example", "192.0.2.1", "TLSv1.3")
    return Attempt(delivery, (Result(recipient, Stage.FINAL_DOT, reply),), NOW, 0.25, host, "192.0.2.9")


def test_accepted() -> None:
    kept, taken = Kept(), message()
    EventLog(kept).accepted(taken, seconds=0.01, mailing="spring")
    assert kept.last == {
        "event": "accepted",
        "at": "2026-01-02T03:04:05Z",
        "id": format_id(taken.id),
        "account": "shop",
        "account_id": 7,
        "sender": "<>",
        "recipients": 1,
        "size": 9,
        "session": "s1",
        "client": "127.0.0.1",
        "protocol": "ESMTPSA",
        "seconds": 0.01,
        "mailing": "spring",
    }


def test_outcomes_say_where_what_and_why() -> None:
    kept = Kept()
    log = EventLog(kept)
    tried = attempt(Reply(452, "4.2.2", "mailbox full"))
    result = tried.results[0]
    full = Classification("mailbox_full", Fault.RECIPIENT, Action.RETRY, "full")
    log.outcome(tried, [Deferred(result, full, NOW)])
    deferred = kept.last
    assert deferred["event"] == "deferred"
    assert (deferred["recipient"], deferred["destination"], deferred["attempts"]) == ("ann@a.example", "a.example", 3)
    assert (deferred["host"], deferred["address"], deferred["tls"]) == ("mx.a.example", "192.0.2.1", "TLSv1.3")
    assert (deferred["source"], deferred["stage"]) == ("192.0.2.9", "final_dot")
    assert (deferred["code"], deferred["status"], deferred["text"]) == (452, "4.2.2", "mailbox full")
    assert (deferred["category"], deferred["fault"], deferred["rule"]) == ("mailbox_full", "recipient", "full")
    assert deferred["until"] == "2026-01-02T03:04:05Z"
    assert deferred["total"] >= 60
    log.outcome(tried, [Failed(result, full, expired=True)])
    assert (kept.last["event"], kept.last["expired"], "until" in kept.last) == ("failed", True, False)
    log.outcome(tried, [Delivered(result)])
    assert (kept.last["event"], "rule" in kept.last) == ("delivered", False)


def test_what_others_say_cannot_break_a_line() -> None:
    kept = Kept()
    EventLog(kept).rejected(
        Reply(550, "5.0.0", 'a"b\nc\x1b' + "x" * 5000), session="s", client=LOOPBACK, verb="RCPT", recipient=ANN
    )
    line = kept.lines[0]
    assert b"\n" not in line
    assert b"\x1b" not in line
    assert len(line) < 4096
    assert kept.last["text"].startswith('a"b\nc\x1b')


def test_every_other_event_is_one_json_object_with_its_name_and_time() -> None:
    kept = Kept()
    log = EventLog(kept)
    log.session_closed(
        session="s", client=LOOPBACK, account=None, tls=None, messages=1, rejections=0, seconds=1, ending="quit"
    )
    log.auth_failed(session="s", client=LOOPBACK, username="u", mechanism="PLAIN", reply=Reply(535, "5.7.8", "wrong"))
    log.dsn(new_message_id(), about=new_message_id(), recipient=ANN, kind="failed")
    log.destination_backoff("mx.a.example", "mta-1", 300.0, Reply(421, "4.3.2", "busy"))
    events = [json.loads(line) for line in kept.lines]
    assert [event["event"] for event in events] == [
        "session",
        "auth_failed",
        "dsn",
        "destination_backoff",
    ]
    assert all(event["at"].endswith("Z") for event in events)


def test_lines_reach_the_file_whole_and_in_order(tmp_path: Path) -> None:
    path, metrics = tmp_path / "events.log", Metrics()
    writer = open_sink(path, metrics)
    for n in range(10_000):
        writer.write(b'{"n": %d}' % n)
    writer.close()
    assert [json.loads(line)["n"] for line in path.read_bytes().splitlines()] == list(range(10_000))
    assert metrics.events_dropped.value == 0


def test_rotation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sink, "FLUSH", 0.0)
    path = tmp_path / "events.log"
    writer = open_sink(path, Metrics())
    writer.write(b"one")
    while not path.read_bytes():
        pass
    path.rename(tmp_path / "events.log.1")
    writer.reopen()
    writer.write(b"two")
    writer.close()
    assert (tmp_path / "events.log.1").read_bytes() == b"one\n"
    assert path.read_bytes() == b"two\n"


def test_a_writer_that_is_replaced_writes_the_rest_and_closes_its_file(tmp_path: Path) -> None:
    path, began = tmp_path / "events.log", len(os.listdir("/proc/self/fd"))
    log = EventLog(open_sink(path, Metrics()))
    log.destination_backoff("mx.example.com", "default", 60.0, Reply(451, "4.3.0", "later"))
    log.replace(NoSink())  # without waiting
    deadline = time.monotonic() + 10
    while len(os.listdir("/proc/self/fd")) > began and time.monotonic() < deadline:
        time.sleep(0.01)
    assert len(os.listdir("/proc/self/fd")) == began
    assert [json.loads(line)["site"] for line in path.read_bytes().splitlines()] == ["mx.example.com"]


def test_a_file_that_cannot_be_opened_is_said_at_once(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        open_sink(tmp_path / "missing" / "events.log", Metrics())


def test_a_full_disk_drops_lines_counts_them_and_heals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    metrics = Metrics()
    path = tmp_path / "events.log"
    real, full = os.write, [True]

    def write(fd: int, octets: bytes) -> int:
        if full[0]:
            real(fd, bytes(octets)[:3])  # the disk took a part
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(fd, octets)

    monkeypatch.setattr(sink, "FLUSH", 0.0)
    monkeypatch.setattr(sink.os, "write", write)
    writer = WriterSink(path, metrics)
    writer.write(b'{"event":"lost"}')
    while not metrics.events_dropped.value:
        pass
    full[0] = False
    writer.write(b'{"event":"kept"}')
    writer.close()
    assert metrics.events_dropped.value == 1
    assert path.read_bytes() == b'{"e\n{"event":"kept"}\n', "the torn line does not spoil the next one"


def test_a_reader_that_does_not_read_costs_lines_not_time(monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe()
    metrics = Metrics()
    monkeypatch.setattr(sink, "STDOUT", writing)
    monkeypatch.setattr(sink, "MAX_WAITING", 200_000)
    monkeypatch.setattr(sink, "CLOSING", 0.01)
    writer = open_sink("stdout", metrics)
    for _ in range(2000):
        writer.write(b"x" * 999)
    dropped = metrics.events_dropped.value
    writer.close()
    assert 1000 < dropped < 2000
    os.close(reading)  # the writing thread ends with EPIPE

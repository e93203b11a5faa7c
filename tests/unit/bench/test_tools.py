"""The benchmark's own tools: what they count must be what happened."""

from __future__ import annotations

import multiprocessing
import socket
from collections.abc import Iterator
from multiprocessing.connection import Connection

import dns.message
import dns.query
import pytest

from bench import resolver, sink
from bench.report import medians
from bench.rig import Result
from bench.service import free_port, merged, to_toml
from bench.source import Load, Source, domain, render

_CONTEXT = multiprocessing.get_context("fork")
_ADDRESS = "127.0.1.1"


@pytest.fixture
def running_sink() -> Iterator[tuple[int, Connection]]:
    """A sink's port and its control."""
    port = free_port(_ADDRESS)
    control, far = _CONTEXT.Pipe()
    process = _CONTEXT.Process(target=sink.serve, args=([_ADDRESS], port, far), daemon=True)
    process.start()
    control.recv()
    yield port, control
    control.send("stop")
    process.join()


@pytest.mark.parametrize(("size", "per_connection"), [(1000, 100), (1000, 1), (400_000, 7)])
def test_every_message_arrives_once(running_sink: tuple[int, Connection], size: int, per_connection: int) -> None:
    port, control = running_sink
    load = Load(port=port, address=_ADDRESS, count=50, size=size, domains=5, sessions=4, per_connection=per_connection)
    sent = Source(load).run()
    control.send("take")
    arrivals = control.recv()
    assert sorted(sent.accepted) == sorted(arrivals.ids) == list(range(50))
    assert len(sent.seconds) == 50
    assert (sent.refused, sent.broken) == (0, 0)
    assert abs(arrivals.octets / 50 - size) < 20


def test_a_final_dot_in_pieces(running_sink: tuple[int, Connection]) -> None:
    port, control = running_sink
    with socket.create_connection((_ADDRESS, port)) as client:
        client.settimeout(10)
        for piece in (
            b"EHLO x\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDA",
            b"TA\r\nX-Bench-Id: 7\r\n\r\nText\r\n",
            b".\r",
            b"\nQUIT\r\n",
        ):
            client.sendall(piece)
        said = b""
        while b"\r\n221 " not in said:
            said += client.recv(1000)
    assert said.count(b"354 ") == 1
    control.send("take")
    assert list(control.recv().ids) == [7]


def test_rendered_size() -> None:
    head, tail = render(10_240)
    assert abs(len(head) + 4 + len(tail) - 10_240) < 20
    assert tail.endswith(b"\r\n.\r\n")


def test_resolver() -> None:
    control, far = _CONTEXT.Pipe()
    zone = {domain(0): ("mx00.example", "127.0.1.1")}
    process = _CONTEXT.Process(target=resolver.serve, args=(zone, resolver.bind("127.0.0.1", 0), far), daemon=True)
    process.start()
    port = control.recv()

    def ask(name: str, kind: str) -> dns.message.Message:
        return dns.query.udp(dns.message.make_query(name, kind), "127.0.0.1", port=port, timeout=5)

    try:
        assert ask("D00.example", "MX").answer[0].to_text().endswith("MX 10 mx00.example.")
        assert ask("mx00.example", "A").answer[0].to_text().endswith("A 127.0.1.1")
        assert ask("mx00.example", "AAAA").rcode() == 0
        assert ask("other.example", "MX").rcode() == 3
    finally:
        process.kill()
        process.join()


def test_toml() -> None:
    settings = merged({"a": {"b": 1, "c": "x"}}, {"a": {"b": [True, {"d": 'say "hi"'}]}})
    assert to_toml(settings) == 'a = {"b" = [true, {"d" = "say \\"hi\\""}], "c" = "x"}\n'


def test_medians_keep_every_loss() -> None:
    def run(rate: float, lost: int) -> Result:
        return Result("ours", 10_240, 1, 100, 5000, rate, rate, 1.0, 1, 1, 1, 1, 1, 0.0, lost, 0, 0, 1, 0.1)

    [merged_result] = medians([run(100.0, 0), run(300.0, 2), run(200.0, 0)])
    assert merged_result.drain_rate == 200.0
    assert merged_result.lost == 2

"""Clients behind proxies, and how often each may ask."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest

from mta.web import clients
from mta.web.clients import RequestRates, client_of, subscriber

PROXIES = [ip_network("10.0.0.0/8"), ip_network("2001:db8:1::/48")]


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("192.0.2.1", [], "192.0.2.1"),
        ("192.0.2.1", ["198.51.100.7"], "192.0.2.1"),
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", ["198.51.100.7"], "198.51.100.7"),
        ("10.0.0.1", ["203.0.113.9, 198.51.100.7"], "198.51.100.7"),
        ("10.0.0.1", ["203.0.113.9", "198.51.100.7, 10.0.0.2"], "198.51.100.7"),
        ("10.0.0.1", ["198.51.100.7, nonsense"], "10.0.0.1"),
        ("::ffff:10.0.0.1", ["2001:db8::7"], "2001:db8::7"),
        ("2001:db8:1::1", ["198.51.100.7"], "198.51.100.7"),
        ("fe80::1%eth0", [], "fe80::1"),
        ("", [], "0.0.0.0"),
        ("10.0.0.1", ["10.0.0.9"], "10.0.0.9"),
    ],
)
def test_proxies_are_believed_from_the_right(peer: str, forwarded: list[str], client: str) -> None:
    assert client_of(peer, forwarded, PROXIES) == ip_address(client)


def test_a_burst_and_then_the_rate() -> None:
    now = 100.0
    rates = RequestRates(2, 3, lambda: now)
    one, other = 1, 2
    assert [rates.take(one) for _ in range(4)] == [0, 0, 0, 0.5]
    assert rates.take(one) == 0.5, "asking in vain does not make the wait longer"
    assert rates.take(other) == 0
    now = 100.5
    assert [rates.take(one), rates.take(one)] == [0, 0.5]
    now = 200.0
    assert [rates.take(one) for _ in range(4)] == [0, 0, 0, 0.5]


def test_a_subscriber_with_many_addresses_is_one_client() -> None:
    rates = RequestRates(1, 1, lambda: 0.0)
    assert rates.take(subscriber(ip_address("2001:db8::1"))) == 0
    assert rates.take(subscriber(ip_address("2001:db8::ffff:2"))) > 0
    assert rates.take(subscriber(ip_address("2001:db8:0:1::1"))) == 0


def test_a_reload_changes_rate_and_burst() -> None:
    rates = RequestRates(1, 1, lambda: 0.0)
    rates.configure(10, 3)
    client = 1
    assert [rates.take(client) for _ in range(4)] == [0, 0, 0, pytest.approx(0.1)]


def test_only_so_many_clients_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clients, "MAX_CLIENTS", 2)
    rates = RequestRates(1, 1, lambda: 0.0)
    first = 1
    rates.take(first)
    for n in range(2, 5):
        rates.take(n)
    assert rates.take(first) == 0, "the one who asked longest ago was forgotten"


def test_what_is_left_is_told() -> None:
    now = 100.0
    rates = RequestRates(2, 3, lambda: now)
    assert rates.left(1) == 3
    rates.take(1)
    assert rates.left(1) == 2
    now = 101.0
    assert rates.left(1) == 3

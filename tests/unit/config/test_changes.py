"""What a reload leaves for the next restart."""

from __future__ import annotations

from config.changes import described, waiting_for_restart
from config.schema import Settings


def settings(**sections: object) -> Settings:
    return Settings.model_validate(sections, strict=False)


def test_keys_that_need_a_restart_are_named_with_both_values() -> None:
    old = settings(
        submission={"listeners": [{"port": 2525}, {"port": 587, "tls": "starttls"}]},
        server={"workers": 2},
        database={"url": "postgresql://u:topsecret@h/x"},
        queue={"expire_after": "5d"},
    )
    new = settings(
        submission={"listeners": [{"port": 2526}, {"port": 587, "tls": "implicit"}, {"port": 465}]},
        server={"workers": "auto", "hostname": "mail.shop.example"},
        database={"url": "postgresql://u:othersecret@h/x", "lease": "1m"},
        queue={"expire_after": "4d"},
    )
    assert waiting_for_restart(old, new) == [
        'server.workers: 2 in use, "auto" after a restart',
        "database.url: the old value in use, the new one after a restart",
        "database.lease: 30s in use, 1m after a restart",
        "submission.listeners[0].port: 2525 in use, 2526 after a restart",
        "submission.listeners[2]: none in use, {port = 465} after a restart",
    ]


def test_everything_else_is_in_use_at_once() -> None:
    old = settings(
        submission={"limits": {"message_size": "1MB"}}, egress={"sources": [{"name": "one", "address": "192.0.2.1"}]}
    )
    new = settings(
        submission={"limits": {"message_size": "2MB"}},
        routes=[{"domains": ["*"], "hosts": ["mx.example"]}],
        signing={"keys": [{"domain": "shop.example", "selector": "s", "file": "/k"}]},
    )
    assert waiting_for_restart(old, new) == []
    assert waiting_for_restart(old, old) == []


def test_every_change_is_described_by_name() -> None:
    old = settings(
        egress={"sources": [{"name": "one", "address": "192.0.2.1"}, {"name": "two", "address": "192.0.2.2"}]},
        shaping={"default": {"connections": 20}, "sources": [{"source": "one", "connections": 2}]},
        database={"url": "postgresql://u:topsecret@h/x"},
    )
    new = settings(
        egress={"sources": [{"name": "two", "address": "192.0.2.9"}, {"name": "three", "address": "192.0.2.3"}]},
        shaping={"default": {"connections": 5}, "sources": [{"source": "one", "connections": 3}]},
        database={"url": "postgresql://u:othersecret@h/x"},
    )
    assert described(old, new) == [
        "database.url: another value",
        "egress.sources one: removed",
        'egress.sources two.address: "192.0.2.2", then "192.0.2.9"',
        'egress.sources three: new, {address = "192.0.2.3", name = "three"}',
        "shaping.default.connections: 20, then 5",
        'shaping.sources: removed, {connections = 2, source = "one"}',
        'shaping.sources: new, {connections = 3, source = "one"}',
    ]
    assert described(old, old) == []


def test_another_order_of_named_entries_is_a_change() -> None:
    entries = [{"name": "one", "mx": [".a.example"]}, {"name": "two", "mx": [".b.example"]}]
    old, new = settings(shaping={"providers": entries}), settings(shaping={"providers": entries[::-1]})
    assert described(old, new) == ["shaping.providers: another order, and the first that fits counts: two, one"]

"""What a reload leaves for the next restart."""

from __future__ import annotations

from config.changes import waiting_for_restart
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

"""How defaults, the operator's file and the shipped lists come together."""

from __future__ import annotations

from ipaddress import IPv4Network
from pathlib import Path

import pytest

from config.load import ConfigError, load_file, load_text
from config.schema import Limits, ListenerTls, Shaping


def test_shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    settings = load_file(None)
    listeners = [(listener.port, listener.tls) for listener in settings.submission.listeners]
    assert listeners == [(587, ListenerTls.STARTTLS), (465, ListenerTls.IMPLICIT), (2525, ListenerTls.NONE)]
    assert settings.submission.listeners[2].address == "127.0.0.1"
    assert settings.server.data_dir == tmp_path / "data"
    assert {"gmail", "outlook", "microsoft365", "yahoo", "t-online"} <= {one.name for one in settings.shaping.providers}


def test_operators_file_stands_alone(tmp_path: Path) -> None:
    settings = load_text("", "mta.toml", tmp_path)
    assert settings.submission.listeners == []
    assert settings.queue.retry_schedule == [300.0, 600.0, 1200.0, 2400.0, 3600.0, 7200.0, 10800.0, 14400.0]
    assert settings.shaping.providers == load_file(None).shaping.providers


def test_values(tmp_path: Path) -> None:
    text = """
    [server]
    hostname = "Mail.Example.COM"
    workers = 3
    [[submission.listeners]]
    port = 2525
    proxy_from = ["10.0.0.0/8"]
    [submission.limits]
    message_size = "1.5MB"
    message_memory = 8000000
    command_timeout = "90s"
    [queue]
    retry_schedule = ["500ms", " 1.5 h "]
    [[signing.keys]]
    domain = "Example.COM"
    selector = "S1"
    file = "keys/one.pem"
    """
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys/one.pem").touch(0o600)
    settings = load_text(text, "mta.toml", tmp_path)
    assert settings.server.hostname == "mail.example.com"
    assert settings.submission.listeners[0].proxy_from == [IPv4Network("10.0.0.0/8")]
    limits = settings.submission.limits
    assert (limits.message_size, limits.message_memory, limits.command_timeout) == (1_500_000, 8_000_000, 90)
    assert settings.queue.retry_schedule == [0.5, 5400.0]
    [key] = settings.signing.keys
    assert (key.domain, key.selector, key.file) == ("example.com", "s1", tmp_path / "keys/one.pem")


def test_limits_of_reports_are_those_of_submission_but_for_what_differs(tmp_path: Path) -> None:
    text = """
    [submission.limits]
    connections = 30
    errors = 7
    [reports.limits]
    message_size = "1MB"
    """
    settings = load_text(text, "mta.toml", tmp_path)
    submission = Limits.of(settings.submission.limits)
    reports = Limits.of(settings.submission.limits, settings.reports.limits, line_length=100_000)
    assert (submission.connections, submission.errors, submission.line_length) == (30, 7, 998)
    assert (reports.connections, reports.errors, reports.line_length) == (500, 7, 100_000)
    assert (reports.message_size, reports.header_size) == (1_000_000, submission.header_size)


def test_relative_to_the_file(tmp_path: Path) -> None:
    folder = tmp_path / "etc"
    folder.mkdir()
    (folder / "rules.toml").touch()
    path = folder / "mta.toml"
    path.write_text(
        '[server]\ndata_dir = "../var"\n[observe]\nevents = "events.json"\n[bounces]\nrules = ["rules.toml"]\n'
    )
    settings = load_file(path)
    assert settings.server.data_dir == folder / "../var"
    assert settings.observe.events == folder / "events.json"
    assert settings.bounces.rules == [folder / "rules.toml"]
    assert load_text('[observe]\nevents = "none"', "x", folder).observe.events == "none"


def test_own_providers_come_first_and_complete_shipped_ones(tmp_path: Path) -> None:
    text = """
    [[shaping.providers]]
    name = "partner"
    domains = ["partner.example"]
    connections = 1
    [[shaping.providers]]
    name = "gmail"
    connections = 50
    """
    shipped = {one.name: one for one in load_text("", "x", tmp_path).shaping.providers}
    providers = load_text(text, "x", tmp_path).shaping.providers
    assert [one.name for one in providers[:2]] == ["partner", "gmail"]
    assert providers[0].initial_connections == 1  # the default of two would be more than there may ever be
    assert providers[1] == shipped["gmail"].model_copy(update={"connections": 50})
    assert sorted(one.name for one in providers) == sorted(["partner", *shipped])


def test_shipped_providers_agree(tmp_path: Path) -> None:
    providers = load_text("", "x", tmp_path).shaping.providers
    assert all(one.mx and one.initial_connections <= one.connections for one in providers)
    suffixes = [suffix for one in providers for suffix in one.mx]
    assert len(suffixes) == len(set(suffixes))
    for later, provider in enumerate(providers):
        for earlier in providers[:later]:
            hidden = [suffix for suffix in provider.mx if suffix.endswith(tuple(earlier.mx))]
            assert not hidden, f"{earlier.name} takes {hidden} of {provider.name}"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o660])
def test_private_files(mode: int, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.touch()
    secret.chmod(mode)
    with pytest.raises(ConfigError, match=rf"mode {mode:04o}\); run: chmod 600 {secret}"):
        load_text('[server]\nsecret_file = "secret"', "mta.toml", tmp_path)
    secret.chmod(0o400)
    assert load_text('[server]\nsecret_file = "secret"', "mta.toml", tmp_path).server.secret_file == secret


def test_settings_are_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Shaping().connections = 3  # type: ignore[misc]


@pytest.mark.parametrize("zone", ["", "Mars/Base", "Europe", "../Europe/Paris", "/etc/localtime"])
def test_a_time_zone_that_does_not_exist_is_refused(tmp_path: Path, zone: str) -> None:
    assert load_text('[server]\ntime_zone = "Europe/Madrid"', "mta.toml", tmp_path).server.time_zone == "Europe/Madrid"
    with pytest.raises(ConfigError, match="time_zone: no such time zone"):
        load_text(f'[server]\ntime_zone = "{zone}"', "mta.toml", tmp_path)

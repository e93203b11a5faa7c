"""What keys mean: each mistake with its level and its line."""

from __future__ import annotations

import codecs
from pathlib import Path

import pytest

from config.load import draft_file, draft_text, load_file
from config.toml import ConfigError, MistakeLevel
from config.types import week_hours

ERROR, WARNING, NOTE = MistakeLevel.ERROR, MistakeLevel.WARNING, MistakeLevel.NOTE


def told(text: str, level: MistakeLevel = ERROR) -> list[str]:
    return draft_text(text, "mta.toml", Path("/nowhere")).lines(level)


def public(url: str, more: str = "port = 8443\n") -> str:
    return f'[web.public]\nurl = "{url}"\n{more}'


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("news.shop.example", "https:// is missing"),
        ("news.shop.example/u", "https:// is missing"),
        ("//news.shop.example", "https:// is missing"),
        ("http://news.shop.example", "must begin with https://"),
        ("ftp://news.shop.example", "must begin with https://"),
        ("mailto:news@shop.example", "https:// is missing"),
        ("https://", "names no host"),
        ("https:///u", "names no host"),
        ("https://news.shop.example/?a=1", "a query (?)"),
        ("https://news.shop.example?", "a query (?)"),
        ("https://news.shop.example/#top", "a fragment (#)"),
        ("https://ann:pw@news.shop.example", "user name or password"),
        ("https://ann@news.shop.example", "user name or password"),
        ("https://news.shop.example:99999", "no URL"),
        ("https://news.shop.example:0", "port 0"),
        ("https://[::1", "no URL"),
        ("https://news shop.example", "a character that a URL cannot have"),
        ("https://m\u00fcller.example", "a character that a URL cannot have"),
        ("https://<host>", "a character that a URL cannot have"),
        ("https://localhost", "recipients cannot reach"),
        ("https://news", "recipients cannot reach"),
        ("https://news.lan", "recipients cannot reach"),
        ("https://news.corp.internal", "recipients cannot reach"),
        ("https://127.0.0.1", "recipients cannot reach"),
        ("https://10.1.2.3:8443", "recipients cannot reach"),
        ("https://192.168.0.1/pages", "recipients cannot reach"),
        ("https://[fd00::1]", "recipients cannot reach"),
        ("https://-x-.example", "no host name"),
    ],
)
def test_a_public_url_that_recipients_cannot_use(url: str, why: str) -> None:
    (line,) = told(public(url))
    assert line.startswith("mta.toml:2: web.public.url: ")
    assert why in line


@pytest.mark.parametrize(
    "url", ["https://news.shop.example", "https://news.shop.example:8443/mail/", "https://8.8.8.8"]
)
def test_one_that_they_can(url: str) -> None:
    assert told(public(url)) == told(public(url), WARNING) == []


def test_somebody_must_serve_it() -> None:
    (line,) = told(public("https://news.shop.example", ""), WARNING)
    assert line.startswith("mta.toml:2: web.public.url: nothing serves these pages without web.public.port")


@pytest.mark.parametrize(
    ("name", "level"),
    [("192.0.2.44", ERROR), ("1.2", ERROR), ("2001", ERROR), ("mail", WARNING), ("localhost", NOTE)],
)
@pytest.mark.parametrize(("table", "key"), [("server", "hostname"), ("egress", "ehlo")])
def test_the_name_of_the_host(name: str, level: MistakeLevel, table: str, key: str) -> None:
    lines = told(f'[{table}]\n{key} = "{name}"\n', level)
    assert any(line.startswith(f"mta.toml:2: {table}.{key}: ") for line in lines)


@pytest.mark.parametrize("key", ['[return_path]\ndomain = "192.0.2.1"', '[egress]\nehlo = "10.0.0.1"'])
def test_no_domain_is_an_address(key: str) -> None:
    assert "is an address; a host name is expected" in told(key)[0]


@pytest.mark.parametrize("host", ["returns.shop.example", "Returns.Shop.Example", "in.returns.shop.example"])
def test_mail_is_not_forwarded_to_where_it_comes_from(host: str) -> None:
    reports = f'[reports]\npostmaster_forward = "op@{host}"\n[return_path]\ndomain = "returns.shop.example"\n'
    (line,) = told(reports)
    assert line.startswith("mta.toml:2: reports.postmaster_forward: ")
    assert told(reports.replace(f"op@{host}", "op@shop.example")) == []


@pytest.mark.parametrize(
    ("one", "other", "clash"),
    [
        ("127.0.0.1", "127.0.0.1", True),
        ("::", "127.0.0.1", True),
        ("127.0.0.1", "::", True),
        ("0.0.0.0", "192.0.2.1", True),
        ("::", "0.0.0.0", True),
        ("::1", "::", True),
        ("127.0.0.1", "127.0.0.2", False),
        ("0.0.0.0", "::1", False),
        ("127.0.0.1", "::1", False),
    ],
)
def test_a_port_is_used_once(one: str, other: str, clash: bool) -> None:
    listeners = "".join(f'[[submission.listeners]]\naddress = "{each}"\nport = 2525\n' for each in (one, other))
    assert [line.partition(": ")[0] for line in told(listeners)] == (["mta.toml:6"] if clash else [])


def test_a_value_of_another_form_is_told_and_looked_into() -> None:
    lines = told(
        "[submission.listeners]\n"
        'port = "70000"\n'
        "[server]\n"
        'hostname = ["192.0.2.1"]\n'
        "[egress]\n"
        'sources = "nowhere"\n'
        'ipv6 = "true"\n'
        "[[dns]]\n"
        "tiemout = 1\n"
    )
    assert [line.partition(" ")[0] + line.partition(": ")[2][:60] for line in lines] == [
        "mta.toml:1:submission.listeners: there can be several of it; write [[su",
        'mta.toml:2:submission.listeners[0].port: "70000" must be written withou',
        'mta.toml:4:server.hostname: one value is expected, without brackets: ho',
        'mta.toml:6:egress.sources: "nowhere" must be a list, also with one valu',
        'mta.toml:6:egress.sources[0]: "nowhere" is not valid; expected a table',
        'mta.toml:7:egress.ipv6: "true" must be written without quotes: ipv6 = t',
        "mta.toml:8:dns: there is one of it only; write [dns], with one bracket",
        'mta.toml:9:dns.tiemout: unknown key; did you mean "timeout"?',
    ]  # fmt: skip


@pytest.mark.parametrize("text", ["", "\n", "# nothing\n", "\ufeff"])
def test_an_empty_file_is_no_configuration(text: str, tmp_path: Path) -> None:
    (tmp_path / "mta.toml").write_text(text)
    with pytest.raises(ConfigError, match="holds no setting; begin with a copy of"):
        load_file(tmp_path / "mta.toml")


@pytest.mark.parametrize(
    ("octets", "told"),
    [
        (
            "[web]\nport = 1\n".encode("utf-16"),
            'mta.toml:1: is UTF-16 (some editors call it "Unicode"); save it as UTF-8',
        ),
        (
            b"[web]\n# caf\xe9\nport = 1\n",
            "mta.toml:2: not UTF-8: octet 0xE9, in Latin-1 'é' at column 6; save the file as UTF-8",
        ),
    ],
)
def test_a_file_in_another_encoding(octets: bytes, told: str, tmp_path: Path) -> None:
    (tmp_path / "mta.toml").write_bytes(octets)
    with pytest.raises(ConfigError) as caught:
        load_file(tmp_path / "mta.toml")
    assert caught.value.lines == [f"{tmp_path}/{told}"]


@pytest.mark.parametrize("octets", [codecs.BOM_UTF8 + b"[web]\r\nport = 1\r\n", b"[web]\r\nport = 1\r\n"])
def test_what_windows_writes_is_read(octets: bytes, tmp_path: Path) -> None:
    (tmp_path / "mta.toml").write_bytes(octets)
    assert load_file(tmp_path / "mta.toml").web.port == 1


@pytest.mark.parametrize(
    ("url", "mode", "open_to_all"),
    [
        ("postgresql://u:pw@h/x", 0o644, True),
        ("postgresql://u@h/x?password=pw", 0o644, True),
        ("postgresql://u:pw@h/x", 0o640, False),
        ("postgresql://u@h/x", 0o644, False),
    ],
)
def test_a_password_that_all_users_can_read(url: str, mode: int, open_to_all: bool, tmp_path: Path) -> None:
    path = tmp_path / "mta.toml"
    path.write_text(f'[database]\nurl = "{url}"\n')
    path.chmod(mode)
    lines = draft_file(path).lines(WARNING)
    assert lines == ([] if not open_to_all else lines[:1])
    assert all(f"{path}:2: database.url: all users can read the password in it (mode 0644)" in line for line in lines)
    assert bool(lines) is open_to_all


def window(times: str, zone: str = "Europe/Berlin") -> str:
    return f'[[queue.send_windows]]\nname = "office"\ntimes = [{times}]\nzone = "{zone}"\n'


def test_send_windows() -> None:
    assert told(window('"mon-fri 08:00-20:00", "sat,sun 10:00-24:00", "fri-mon 22:00-06:00"')) == []
    (line,) = told(window('"mon-sun 08:00-20:00"', "Europe/Atlantis"))
    assert line.startswith("mta.toml:4: queue.send_windows[0].zone: no such time zone")
    for wrong in ('"mon-fri"', '"monday 08:00-20:00"', '"mon 8-20"', '"mon 08:00-25:00"', '"mon 24:00-08:00"'):
        (line,) = told(window(wrong))
        assert line.startswith("mta.toml:3: queue.send_windows[0].times"), line


@pytest.mark.parametrize(
    ("text", "days", "start", "end"),
    [
        ("mon-fri 08:00-20:00", {0, 1, 2, 3, 4}, 480, 1200),
        ("sat,sun 00:00-24:00", {5, 6}, 0, 1440),
        ("fri-mon 22:00-06:00", {4, 5, 6, 0}, 1320, 1800),
        ("wed 09:00-09:00", {2}, 540, 1980),
    ],
)
def test_hours_of_a_week(text: str, days: set[int], start: int, end: int) -> None:
    assert week_hours(text) == (frozenset(days), start, end)

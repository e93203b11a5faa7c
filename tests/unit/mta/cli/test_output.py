"""What all commands share: tables for terminals and pipes, JSON, errors, the configuration that is found."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum
from ipaddress import ip_network
from pathlib import Path

import orjson
import pytest
import typer

from config.toml import ConfigError
from mta.cli import options, output
from mta.cli.context import load_settings
from mta.cli.output import Column, Styled, print_table
from mta.mail.address import Address, AddressError
from mta.mail.hold import Hold, HoldSource
from mta.mail.identity import format_id, new_message_id
from mta.store.journal.account_changes import AccountError
from mta.store.postgres.errors import StoreUnavailable
from policy.profile import UnknownProfile

LONG = "a-rather-long-local-part.that-goes-on-and-on@a-rather-long-domain-name.example"
COLUMNS = (
    Column("id", whole=True),
    Column("address", whole=True),
    Column("tries", numeric=True),
    Column("reply", optional=True),
)


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output, "on_terminal", lambda: True)


def table(capsys: pytest.CaptureFixture[str], address: str, reply: str = "450 later") -> list[str]:
    message = format_id(new_message_id())
    print_table(COLUMNS, [(message, address, 3, reply)], empty="Nothing.")
    lines = capsys.readouterr().out.splitlines()
    assert message in lines[1]
    return lines


def test_a_pipe_gets_whole_values_between_tabs(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(("name", "domains"), [("shop", ["a.example", "b.example"]), (Styled("x\ty", "red"), None)], empty="")
    assert capsys.readouterr().out == "name\tdomains\nshop\ta.example, b.example\nx y\t\n"
    assert table(capsys, LONG, "450 4.2.1 [later] " * 50)[1].count("\t") == 3


@pytest.mark.usefixtures("terminal")
def test_a_terminal_gets_aligned_columns(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    first, second = table(capsys, "ann@example.net", "450 4.2.1 [bold]later[/]")
    assert second.index("ann@") == first.index("address")
    assert second.rstrip().endswith("450 4.2.1 [bold]later[/]")


@pytest.mark.usefixtures("terminal")
@pytest.mark.parametrize(
    ("columns", "shown"), [(140, "table"), (115, "less"), (80, "blocks"), (60, "blocks"), (40, "blocks")]
)
def test_a_narrow_terminal_loses_columns_and_never_half_a_value(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, columns: int, shown: str
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    message = format_id(new_message_id())
    print_table(COLUMNS, [(message, LONG, 3, "450 later")] * 2, empty="")
    told = capsys.readouterr().out
    assert told.count(message) == told.count(LONG) == 2
    assert ("reply" in told.splitlines()[0]) == (shown == "table")
    if shown == "blocks":
        assert told.splitlines()[:5] == [
            f"id       {message}", f"address  {LONG}", "tries    3", "reply    450 later", "",
        ]  # fmt: skip


@pytest.mark.usefixtures("terminal")
@pytest.mark.parametrize("columns", [80, 60, 40])
def test_an_id_and_a_short_address_are_whole_on_any_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    message = format_id(new_message_id())
    print_table(COLUMNS, [(message, "ann@example.net", 3, "450 later " * 9)], empty="")
    told = capsys.readouterr().out
    assert message in told
    assert "ann@example.net" in told


def test_nothing_to_show_is_said_on_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(COLUMNS, [], empty="Nothing is queued.")
    assert capsys.readouterr() == ("", "Nothing is queued.\n")
    print_table(("n",), [(1,), (2,)], empty="", limit=2)
    assert capsys.readouterr() == ("n\n1\n2\n", "Showing 2; there may be more (--limit).\n")


def test_details_are_aligned_and_empty_ones_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    output.print_details("shop", (("status", "active"), ("case", ""), ("sends for", ["a.example", "b.example"])))
    assert capsys.readouterr().out == "shop\n  status     active\n  sends for  a.example, b.example\n"


def test_json_knows_our_types(capsys: pytest.CaptureFixture[str]) -> None:
    class Colour(Enum):
        RED = "red"

    @dataclass(frozen=True, slots=True)
    class Inner:
        message: object
        at: datetime

    message = new_message_id()
    output.print_json(
        {
            "inner": Inner(message, datetime(2026, 1, 2, tzinfo=UTC)),
            "address": Address("ann", "example.net"),
            "hold": Hold(HoldSource.OPERATOR, "", "a test"),
            Colour.RED: {Colour.RED},
            "network": (ip_network("10.0.0.0/8"), Decimal("1.50"), b"\x01\xff"),
        }
    )
    assert orjson.loads(capsys.readouterr().out) == {
        "inner": {"message": format_id(message), "at": "2026-01-02T00:00:00+00:00"},
        "address": "ann@example.net",
        "hold": {"source": "operator", "ref": "", "text": "a test"},
        "red": ["red"],
        "network": ["10.0.0.0/8", "1.50", "01ff"],
    }


@pytest.mark.parametrize(
    ("error", "status", "told"),
    [
        (ConfigError(["mta.toml:1: no", "mta.toml:2: no"]), 2, "mta.toml:1: no\nmta.toml:2: no\n"),
        (AddressError("an address needs an @"), 2, "an address needs an @\n"),
        (AccountError("there is no account 'x'"), 1, "there is no account 'x'\n"),
        (StoreUnavailable("connection refused"), 1, "connection refused\n"),
        (UnknownProfile("x", ("y",)), 1, 'there is no profile "x"; there are y\n'),
    ],
)
def test_an_expected_error_is_a_sentence_and_a_status(
    capsys: pytest.CaptureFixture[str], error: Exception, status: int, told: str
) -> None:
    with pytest.raises(typer.Exit) as ended, output.errors_reported():
        raise error
    assert (ended.value.exit_code, capsys.readouterr().err) == (status, told)
    with pytest.raises(typer.Exit) as ended, output.errors_reported(2):
        raise error
    assert ended.value.exit_code == 2


def test_a_bug_stays_a_bug() -> None:
    with pytest.raises(KeyError), output.errors_reported():
        raise KeyError("x")


def test_a_file_that_cannot_be_written_is_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit) as ended, output.output_file(tmp_path / "none" / "out.csv"):
        pass
    assert ended.value.exit_code == 2
    assert "out.csv: cannot be written: No such file" in capsys.readouterr().err


def test_an_unreadable_current_directory_has_no_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(self: Path) -> bool:
        raise PermissionError(13, "Permission denied")

    monkeypatch.delenv("MTA_CONFIG", raising=False)
    monkeypatch.setattr(Path, "is_file", denied)
    assert options.find_config(None) is None


def test_a_current_directory_that_is_gone_is_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    monkeypatch.delenv("MTA_CONFIG", raising=False)
    gone.rmdir()
    with pytest.raises(typer.Exit) as ended:
        load_settings(None)
    assert ended.value.exit_code == 2
    assert "the current directory" in capsys.readouterr().err


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("15m", 900), (" 2 h ", 7200), ("1.5d", 129600)])
def test_durations(text: str, seconds: float) -> None:
    assert options.parse_span(text).total_seconds() == seconds


@pytest.mark.parametrize("text", ["", "5", "1w", "-1h", "h"])
def test_durations_that_are_none(text: str) -> None:
    with pytest.raises(ValueError, match="is not a duration"):
        options.parse_span(text)

"""Rules that hold for every command, read from the command tree and the folder."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from mta.cli import main

CLI = Path(main.__file__).parent
HEAVY = ("aiohttp", "asyncpg", "config.schema", "mta.store.store", "mta.service.supervisor", "structlog", "uvloop")
# The last words of commands after which something is lost, or goes out to people: each asks first.
DESTRUCTIVE = {"remove", "revoke", "terminate", "stop", "erase", "bounce", "close", "cancel"}


def commands() -> dict[str, Any]:
    """Every command by its words, as Click has it."""

    def walk(command: Any, words: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
        inner: Mapping[str, Any] | None = getattr(command, "commands", None)
        if inner is None or command.invoke_without_command:
            yield " ".join(words), command
        for name, each in (inner or {}).items():
            yield from walk(each, (*words, name))

    return dict(walk(typer.main.get_command(main.build()), ()))


COMMANDS = commands()


def options(name: str) -> set[str]:
    return {option for parameter in COMMANDS[name].params for option in parameter.opts}


def test_every_listing_and_every_show_has_json() -> None:
    shows = [name for name in COMMANDS if name.split()[-1] in ("list", "show", "history", "rules", "explain", "check")]
    assert len(shows) > 20
    # `mta check` and `mta profile check` say whether files are right
    assert [name for name in shows if "--json" not in options(name)] == ["profile check"]


@pytest.mark.parametrize("name", [name for name in COMMANDS if name.split()[-1] in DESTRUCTIVE])
def test_a_destructive_command_can_be_tried_confirmed_and_explained(name: str) -> None:
    assert {"--dry-run", "--yes", "--reason"} <= options(name)


def test_an_option_means_one_thing() -> None:
    """One spelling and one text for what all commands share."""
    shared = ("--json", "--yes", "--dry-run", "--by", "--config")
    meanings: dict[str, set[str]] = {name: set() for name in shared}
    for command in COMMANDS.values():
        for parameter in command.params:
            if parameter.opts[0] in meanings:
                meanings[parameter.opts[0]].add(parameter.help)
    assert meanings["--json"] == {"Output JSON.", "Output one JSON object per line."}
    assert [name for name, texts in meanings.items() if len(texts) != 1] == ["--json", "--by"]  # terms: who accepted


def test_short_spellings_are_everywhere_or_nowhere() -> None:
    shorts: dict[str, set[tuple[str, ...]]] = {}
    for command in COMMANDS.values():
        for parameter in command.params:
            if parameter.opts[0].startswith("-"):
                long = max(parameter.opts, key=len)
                shorts.setdefault(long, set()).add(tuple(sorted(each for each in parameter.opts if each != long)))
    assert shorts["--account"] == {("-a",)}
    assert {long: found for long, found in shorts.items() if len(found) > 1} == {}


def test_a_duration_is_written_with_its_unit() -> None:
    """`30d` and `24h`, never a bare number of days."""
    named = {option for name in COMMANDS for option in options(name)}
    assert named & {"--days", "--hours", "--seconds", "--minutes"} == set()
    spans = [each for command in COMMANDS.values() for each in command.params if each.metavar == "DURATION"]
    assert {"--older-than", "--expire", "--wait", "--overlap"} <= {each.opts[0] for each in spans}


@pytest.mark.parametrize("columns", ["40", "60", "80"])
def test_help_is_never_cut(columns: str) -> None:
    for name in ("queue list", "suppression add", "sink"):
        told = (
            CliRunner().invoke(main.build(name.split()[0]), [*name.split(), "--help"], env={"COLUMNS": columns}).stdout
        )
        wanted = {option for option in options(name) if option.startswith("-")}
        assert sorted(wanted - set(re.findall(r"--?[a-z][a-z-]*", told))) == []
        assert "…" not in told


def test_the_summary_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    result = CliRunner().invoke(main.outline(), ["--help"])
    assert result.exit_code == 0
    assert [name for name in main.COMMANDS if name not in result.stdout] == []
    assert CliRunner().invoke(main.outline(), ["acount"]).exit_code == 2


def test_the_version_is_told() -> None:
    result = CliRunner().invoke(main.outline(), ["--version"])
    assert (result.exit_code, result.stdout.split()[0]) == (0, "imprimatur-mta")


@pytest.mark.parametrize(
    "words",
    [
        "--help",
        "--version",
        "check --help",
        "serve --help",
        "account --help",
        "webhook list --help",
        *(f"{name} --help" for name in ("complaint", "mailing", "breaker", "blocklist", "explain", "lint", "classify")),
    ],
)
def test_help_imports_nothing_heavy(words: str) -> None:
    program = (
        "import sys; from mta.cli.main import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", program, *words.split()], capture_output=True, text=True, check=True)
    assert done.stderr == "[]\n"


def test_no_module_or_class_has_two_meanings() -> None:
    files = [path for path in CLI.rglob("*.py") if path.name != "__init__.py"]
    names = [path.stem for path in files] + [path.name for path in CLI.iterdir() if path.is_dir()]
    classes = [
        node.name
        for path in files
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ClassDef)
    ]
    for found in (Counter(names), Counter(classes)):
        assert [name for name, count in found.items() if count > 1 and name != "__pycache__"] == []

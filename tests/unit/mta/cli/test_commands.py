"""Rules that hold for every command, read from the command tree and the folder."""

from __future__ import annotations

import ast
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
# What is lost for good, or goes out to people, when the command has run: it asks first.
DESTRUCTIVE = (
    "account credential revoke",
    "account domain remove",
    "account identity remove",
    "account terminate",
    "complaint close",
    "consent revoke",
    "mailing stop",
    "privacy erase",
    "queue bounce",
    "suppression remove",
    "webhook remove",
)


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
    assert [name for name in shows if "--json" not in options(name)] == ["check", "profile check"]


@pytest.mark.parametrize("name", DESTRUCTIVE)
def test_a_destructive_command_can_be_tried_confirmed_and_explained(name: str) -> None:
    assert {"--dry-run", "--yes", "--reason"} <= options(name)


def test_an_option_means_one_thing() -> None:
    """One spelling and one text for what all commands share."""
    meanings: dict[str, set[str]] = {name: set() for name in ("--json", "--yes", "--dry-run", "--by", "--config")}
    for command in COMMANDS.values():
        for parameter in command.params:
            if parameter.opts[0] in meanings:
                meanings[parameter.opts[0]].add(parameter.help)
    assert meanings["--json"] == {"Output JSON.", "Output one JSON object per line."}
    assert [name for name, texts in meanings.items() if len(texts) != 1] == ["--json", "--by"]  # terms: who accepted


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

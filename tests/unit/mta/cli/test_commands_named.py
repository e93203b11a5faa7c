"""Every ``mta`` command that code, shipped configuration and documentation name exists, with the options they give."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from mta.cli import main

ROOT = Path(__file__).parents[4]
PLACES = ("mta", "config", "policy", "bounce", "docs", "README.md", "CONTRIBUTING.md", "SECURITY.md")
SUFFIXES = {".py", ".toml", ".md", ".html", ".sql", ".yml", ".json", ".service"}
OTHERS = {"worker", "web", "fork", "command", "commands"}  # `mta worker-0` is what a process is called
OLD_NAMES = ROOT / "docs" / "glossary.md"  # its left column

_COMMAND = re.compile(r"(?<![\w./@-])mta (?=[a-z-])([^`\n|]*)")
_WORD = re.compile(r"[a-z]+(?:-[a-z]+)*")
_OPTION = re.compile(r"--[a-z][a-z-]*")
_QUOTED = re.compile(r"(?<= )(\"[^\"]*\"|'[^']*')")  # an argument with spaces
_END = re.compile(r"[.,;:)\]}\"'\\]|\\n")  # what ends a command in running text, at the end of one of its words


def files() -> Iterator[Path]:
    for place in PLACES:
        path = ROOT / place
        found = [path] if path.is_file() else sorted(path.rglob("*"))
        yield from (each for each in found if each.suffix in SUFFIXES and each != OLD_NAMES)


def problem(text: str, root: Any) -> str | None:
    """What is wrong with a command line, of which ``text`` is all behind ``mta`` and perhaps more; None if nothing."""
    command, path = root, "mta"
    for word in _QUOTED.sub("TEXT", text).split():
        bare = word.strip("\"'()[]{},.;:")
        inner = getattr(command, "commands", None)
        if inner and bare in inner:
            command, path = inner[bare], f"{path} {bare}"
        elif inner and command is root:
            return f"there is no `mta {bare}`" if _WORD.fullmatch(bare) and bare not in OTHERS else None
        elif inner and path != "mta" and _WORD.fullmatch(word) and not command.invoke_without_command:
            return f"there is no `{path} {bare}`"
        elif found := _OPTION.match(word.lstrip("[(")):
            known = {option for each in command.params for option in (*each.opts, *each.secondary_opts)} | {"--help"}
            if found[0] not in known:
                return f"`{path}` has no {found[0]}"
        if _END.search(word[-1]):
            return None
    return None


def named() -> list[tuple[str, str]]:
    """Where a command is named, and what it is called with."""
    return [
        (f"{path.relative_to(ROOT)}:{number}", found[1])
        for path in files()
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        for found in _COMMAND.finditer(line)
    ]


def test_commands_that_are_named_exist() -> None:
    root = typer.main.get_command(main.build())
    found = named()
    assert len(found) > 100
    wrong = [f"{where}: {why}" for where, text in found if (why := problem(text, root))]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("suppression list", None),
        ("suppression list --limit 5, or `mta suppression export`", None),
        ("suppress list", "there is no `mta suppress`"),
        ("suppression lits", "there is no `mta suppression lits`"),
        ("account set, terms, identity, source", None),
        ("account suspend shop --because x", "`mta account suspend` has no --because"),
        ("account suspend shop --reason 'it is spam' --because x", "`mta account suspend` has no --because"),
        ('consent show {address}"', None),
    ],
)
def test_a_wrong_name_would_be_seen(text: str, why: str | None) -> None:
    assert problem(text, typer.main.get_command(main.build())) == why

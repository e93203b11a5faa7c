"""``mta man``: the manual page, made from the commands and their help texts."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import typer

_ENVIRONMENT = (
    ("MTA_CONFIG", "The configuration file, if --config does not name one."),
    ("MTA_SECRET", "The secret with which `mta inject --auth` logs in."),
)
_FILES = (
    ("./mta.toml, /etc/imprimatur/mta.toml", "The configuration files that are looked for, in this order."),
    ("/etc/imprimatur/", "The customary place for what the configuration names: keys, lists, profiles."),
)
_STATUS = (
    ("0", "Done."),
    ("1", "Refused, not found, or not as it should be."),
    ("2", "A mistake in the command line or the configuration."),
)


def register(app: typer.Typer) -> None:
    app.command("man")(man)


def man() -> None:
    """Print the manual page, as `man -l` shows it: `mta man | man -l -`. Installed as mta(1)."""
    print(manual(), end="")


def manual() -> str:
    """Return the page in troff's man macros."""
    from mta.cli.main import COMMANDS, build

    root = typer.main.get_command(build())
    lines = [
        '.\\" Made by `mta man`; do not edit.',
        '.TH MTA 1 "" "Imprimatur" "User Commands"',
        ".SH NAME",
        "mta \\- outbound mail transfer agent",
        ".SH SYNOPSIS",
        ".B mta",
        ".I COMMAND",
        "[\\fIOPTION\\fR]... [\\fIARGUMENT\\fR]...",
        ".SH DESCRIPTION",
        *_paragraphs(root.help or ""),
        "Each command knows",
        ".BR \\-\\-help .",
        ".SH COMMANDS",
    ]
    for name in COMMANDS:
        lines += _command(root.commands[name], f"mta {name}")  # type: ignore[attr-defined]
    for title, entries in (("EXIT STATUS", _STATUS), ("ENVIRONMENT", _ENVIRONMENT), ("FILES", _FILES)):
        lines += [f".SH {title}", *(line for name, text in entries for line in _entry(name, text))]
    lines += [".SH SEE ALSO", _escaped("The documentation in docs/: operations.md, config.md, policies.md.")]
    return "\n".join(lines) + "\n"


def _command(command: Any, words: str) -> Iterator[str]:
    """Yield the section of one command, then those of the commands below it."""
    inner = getattr(command, "commands", {})
    if not inner or command.invoke_without_command:
        arguments = [each for each in command.params if each.param_type_name == "argument"]
        usage = " ".join([*("[OPTION]..." for _ in command.params[:1]), *(_argument(each) for each in arguments)])
        yield f".SS {_escaped(words)} {_escaped(usage)}".rstrip()
        yield from _paragraphs(command.help or "")
        context = typer.Context(command, color=False)
        for each in command.params:
            if record := each.get_help_record(context):
                name = _argument(each) if each in arguments else record[0]
                yield from _entry(name, record[1])
    else:
        yield f".SS {_escaped(words)}"
        yield from _paragraphs(command.help or "")
    for name, each in inner.items():
        yield from _command(each, f"{words} {name}")


def _argument(parameter: Any) -> str:
    name = (parameter.metavar or parameter.name.upper()).strip("[]{}").removesuffix("...").rstrip("] .")
    name += "..." if parameter.nargs == -1 or parameter.multiple else ""
    return name if parameter.required else f"[{name}]"


def _entry(name: str, text: str) -> Iterator[str]:
    yield ".TP"
    yield f".B {_escaped(name)}"
    yield _escaped(" ".join(text.split()))


def _paragraphs(text: str) -> Iterator[str]:
    """Yield the paragraphs of a help text; examples and numbered lists keep their lines."""
    for paragraph in re.split(r"\n\s*\n", text.replace("\b", "").strip("\n")):
        if paragraph.startswith("    ") or re.match(r"\s*1\. ", paragraph):
            yield from (".PP", ".nf", *(_escaped(line) for line in paragraph.strip("\n").splitlines()), ".fi")
        elif paragraph.strip():
            yield from (".PP", _escaped(" ".join(paragraph.split())))


def _escaped(text: str) -> str:
    """Return text that troff takes as it is: hyphens to copy, no leading control character, code in bold."""
    text = text.replace("\\", "\\e").replace("-", "\\-").replace("'", "\\(aq")
    text = re.sub(r"`([^`]+)`", r"\\fB\1\\fR", text)
    text = "".join(c if c.isascii() else f"\\[u{ord(c):04X}]" for c in text)
    return f"\\&{text}" if text.startswith(".") else text

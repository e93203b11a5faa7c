"""``mta check`` and ``mta config``: is the configuration right, what is in effect, what can be set.

Invariants: every mistake is reported at once, without a store or a running service.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mta.cli.context import load_settings
from mta.cli.installation import changed_files, refuse
from mta.cli.options import ConfigOption, JsonOption, find_config, group
from mta.cli.output import fail, print_details, print_json

if TYPE_CHECKING:
    from bounce.rules import RuleBook
    from config.schema import Settings
    from config.toml import Mistake

_SHIPPED = "config/defaults/mta.toml"


def register(app: typer.Typer) -> None:
    commands = group(
        "Configuration schema, its documentation, settings in effect.",
        ("schema", schema),
        ("docs", docs),
        ("show", show),
        ("openapi", openapi),
    )
    app.add_typer(commands, name="config")


def openapi() -> None:
    """Print the OpenAPI 3.1 document of the REST API (docs/api.md); the service has it at /v1/openapi.json."""
    from mta.web.api import app as api

    print_json(api.openapi())


def register_check(app: typer.Typer) -> None:
    app.command("check")(check)


def check(
    file: Annotated[
        Path | None, typer.Argument(help="Configuration file; default: the one that `mta serve` would use.")
    ] = None,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Check a configuration file, every file it names, and whether this machine has what it asks for.

    Every mistake is reported at once, as `file:line: key: what is wrong and how to fix it`. Exit status 2 if anything
    is wrong; notes are about what works and may surprise.
    """
    if file and config and file != config:
        fail(f"{file} and --config {config}: name one file", status=2)
    path = find_config(file or config)
    foreign, changed = changed_files()
    if foreign:
        refuse(foreign)
    from config.load import draft_file
    from config.toml import ConfigError, MistakeLevel
    from mta.service.config_validation import examine

    try:
        draft = draft_file(path)
    except ConfigError as error:  # there is nothing to look into
        if as_json:
            print_json(_report(str(path), error.lines, [], []))
        raise
    book = examine(draft)
    if draft.value is not None and draft.value.dns.validating:
        from mta.delivery.dnssec_check import check_validation

        draft.add(_validation(check_validation(draft.value.dns)))
    wrong = {level: draft.lines(level) for level in (MistakeLevel.ERROR, MistakeLevel.WARNING)}
    notes = [*draft.lines(MistakeLevel.NOTE), *(f"changed since it was installed: {path}" for path in changed)]
    if as_json:
        print_json(_report(str(path or _SHIPPED), wrong[MistakeLevel.ERROR], wrong[MistakeLevel.WARNING], notes))
    elif draft.value is not None and not any(wrong.values()):
        print_details(f"ok: {path or f'the shipped configuration ({_SHIPPED})'}", _summary(draft.value, book))
    if not as_json:
        for note in notes:
            print(f"  note: {note}")
    if draft.value is None or any(wrong.values()):
        fail("\n".join([*wrong[MistakeLevel.ERROR], *wrong[MistakeLevel.WARNING]]), status=2)


def _validation(fault: str | None) -> list[Mistake]:
    from config.toml import Mistake, MistakeLevel

    return [Mistake(("dns", "validating"), f"{fault}; DANE needs it", level=MistakeLevel.WARNING)] if fault else []


def _report(file: str, errors: list[str], warnings: list[str], notes: list[str]) -> dict[str, Any]:
    """Return what `mta check --json` prints."""
    found = {"errors": errors, "warnings": warnings, "notes": notes}
    return {"file": file, "ok": not (errors or warnings)} | {
        name: [_place(line) for line in lines] for name, lines in found.items()
    }


def _place(line: str) -> dict[str, Any]:
    """Take ``file:line: key: text`` apart; what has no file and line is text only."""
    match = re.fullmatch(r"(.+?):(\d+): (?:([A-Za-z0-9_.\[\]-]+): )?(.*)", line, re.DOTALL)
    if match is None:
        return {"file": None, "line": None, "key": None, "text": line}
    return {"file": match[1], "line": int(match[2]), "key": match[3], "text": match[4]}


def schema() -> None:
    """Print the JSON Schema of the configuration file."""
    from config.describe import schema_of
    from config.schema import Settings

    print_json(schema_of(Settings))


def docs() -> None:
    """Print docs/config.md."""
    from config.document import document

    print(document(), end="")


def show(as_json: JsonOption = False, config: ConfigOption = None) -> None:
    """Print every setting in effect, given or default, without passwords."""
    import tomllib

    from config.document import to_toml

    text = to_toml(load_settings(config))
    if as_json:
        print_json(tomllib.loads(text))
    else:
        print(text, end="")


def _summary(settings: Settings, book: RuleBook) -> list[tuple[str, str]]:
    from mta.service.config_validation import validate_profiles

    listeners = [f"{listener.place} {listener.tls.value}" for listener in settings.submission.listeners]
    database = "external, by URL" if settings.database.url else f"its own, in {settings.server.data_dir}"
    return [
        ("hostname", settings.server.hostname),
        ("listeners", ", ".join(listeners) or "none: no mail can be submitted"),
        ("reports", _reports(settings)),
        ("database", database),
        ("routes", str(len(settings.routes))),
        ("providers", str(len(settings.shaping.providers))),
        ("rules", f"{len(book.rules)}, in {len(book.categories)} categories"),
        ("profiles", ", ".join(validate_profiles(settings).names)),
    ]


def _reports(settings: Settings) -> str:
    """Return where bounces go."""
    domain, listeners = settings.return_path.domain, settings.reports.listeners
    if domain is None:
        return "none: bounces go to senders"
    return f"{domain}, accepted at {', '.join(each.place for each in listeners) or 'another machine'}"

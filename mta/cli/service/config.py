"""``mta check`` and ``mta config``: is the configuration right, what is in effect, what can be set.

Invariants: every mistake is reported at once, without a store or a running service.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mta.cli.context import load_settings
from mta.cli.installation import changed_files, refuse
from mta.cli.options import ConfigOption, JsonOption, find_config, group
from mta.cli.output import errors_reported, print_details, print_json

if TYPE_CHECKING:
    from bounce.rules import RuleBook
    from config.schema import Settings


def register(app: typer.Typer) -> None:
    commands = group(
        "Configuration schema, its documentation, settings in effect.",
        ("schema", schema),
        ("docs", docs),
        ("show", show),
    )
    app.add_typer(commands, name="config")


def register_check(app: typer.Typer) -> None:
    app.command("check")(check)


def check(
    file: Annotated[
        Path | None, typer.Argument(help="Configuration file; default: the one that `mta serve` would use.")
    ] = None,
) -> None:
    """Check a configuration file and every file it references. Exits with status 2 if anything is wrong."""
    foreign, changed = changed_files()
    if foreign:
        refuse(foreign)
    settings, book = load_checked(file)
    name = find_config(file) or "the shipped configuration (config/defaults/mta.toml)"
    print_details(f"ok: {name}", _summary(settings, book))
    for note in [*_notes(settings), *(f"changed since it was installed: {path}" for path in changed)]:
        print(f"  note: {note}")


def schema() -> None:
    """Print the JSON Schema of the configuration file."""
    from config.schema import Settings

    print_json(Settings.model_json_schema())


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


def load_checked(file: Path | None) -> tuple[Settings, RuleBook]:
    """Return the settings and the bounce rules they name, or end the command with every mistake and exit status 2."""
    from mta.service.config_validation import validate

    settings = load_settings(file)
    with errors_reported():
        return settings, validate(settings)


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


def _notes(settings: Settings) -> list[str]:
    """Return what is allowed and works, but will surprise on the open Internet."""
    from mta.service.descriptors import hard_limit, share_out

    notes = []
    if settings.server.hostname in ("localhost", "localhost.localdomain") or "." not in settings.server.hostname:
        notes.append("server.hostname is not this host's name in the DNS; many receivers will reject mail")
    if not settings.submission.tls.certificate:
        notes.append("without submission.tls.certificate clients see a self-signed certificate")
    if settings.return_path.domain and not settings.reports.postmaster_forward:
        notes.append(
            "return_path.domain: without reports.postmaster_forward no one reads mail to abuse@ and postmaster@"
        )
    if not (descriptors := share_out(settings, hard_limit())).is_enough:
        notes.append(f"started from here, {descriptors.shown()}")
    return notes

"""``mta check``: is the configuration right? Every mistake at once, or ``ok`` and what it comes to."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bounce.rules import RuleBook
from config.load import ConfigError
from config.schema import Settings
from mta.cli.context import load_settings
from mta.cli.options import find_config
from mta.cli.output import fail
from mta.service.config_validation import validate, validate_profiles


def register(app: typer.Typer) -> None:
    app.command("check")(check)


def check(
    file: Annotated[
        Path | None, typer.Argument(help="Configuration file; else the one that `mta serve` would use.")
    ] = None,
) -> None:
    """Check a configuration file with all that it names. Ends with 2 if there is a mistake."""
    settings, book = checked(file)
    print(f"ok: {find_config(file) or 'the shipped configuration (config/defaults/mta.toml)'}")
    for name, value in _summary(settings, book):
        print(f"  {name:<10} {value}")
    for note in _notes(settings):
        print(f"  note: {note}")


def checked(file: Path | None) -> tuple[Settings, RuleBook]:
    """The settings and the bounce rules that they name; or the mistakes on standard error and exit status 2."""
    settings = load_settings(file)
    try:
        return settings, validate(settings)
    except ConfigError as error:
        fail("\n".join(error.lines), status=2)


def _summary(settings: Settings, book: RuleBook) -> list[tuple[str, str]]:
    listeners = [f"{listener.place} {listener.tls.value}" for listener in settings.submission.listeners]
    database = "yours, by URL" if settings.database.url else f"our own, in {settings.server.data_dir}"
    return [
        ("hostname", settings.server.hostname),
        ("listeners", ", ".join(listeners) or "none: nobody can submit mail"),
        ("reports", _returns(settings)),
        ("database", database),
        ("routes", str(len(settings.routes))),
        ("providers", str(len(settings.shaping.providers))),
        ("rules", f"{len(book.rules)}, in {len(book.categories)} categories"),
        ("profiles", ", ".join(validate_profiles(settings).names)),
    ]


def _returns(settings: Settings) -> str:
    """Where what bounces goes."""
    domain, listeners = settings.return_path.domain, settings.reports.listeners
    if domain is None:
        return "none: bounces go to senders"
    return f"{domain}, taken at {', '.join(each.place for each in listeners) or 'another machine'}"


def _notes(settings: Settings) -> list[str]:
    """What is allowed and works, but will surprise on the open Internet."""
    notes = []
    if settings.server.hostname in ("localhost", "localhost.localdomain") or "." not in settings.server.hostname:
        notes.append("server.hostname is not this host's name in the DNS; many receivers will refuse mail")
    if not settings.submission.tls.certificate:
        notes.append("without submission.tls.certificate clients see a self-signed certificate")
    if settings.return_path.domain and not settings.reports.postmaster_forward:
        notes.append(
            "return_path.domain: without reports.postmaster_forward nobody reads mail to its abuse@ and postmaster@"
        )
    return notes

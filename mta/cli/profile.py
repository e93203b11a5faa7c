"""``mta profile``: which profiles there are, what one comes to, and whether a file is right.

It must never need the database: a profile is checked before there is a service.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mta.cli.context import load_profiles
from mta.cli.options import ConfigOption
from mta.cli.output import fail

JsonOption = Annotated[bool, typer.Option("--json", help="For machines.")]


def register(app: typer.Typer) -> None:
    group = typer.Typer(
        help="Profiles: which rules an account's mail must pass (docs/policies.md).", no_args_is_help=True
    )
    for name, command in (("list", list_), ("show", show), ("check", check), ("rules", rules)):
        group.command(name)(command)
    app.add_typer(group, name="profile")


def list_(as_json: JsonOption = False, config: ConfigOption = None) -> None:
    """List the profiles that an account can have."""
    from mta.cli import profile_print

    profile_print.print_list(load_profiles(config), as_json=as_json)


def show(
    name: Annotated[str, typer.Argument(help="A profile's name; see `mta profile list`.")],
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Show what a profile comes to with all that it inherits: rules in order, and every setting."""
    from mta.cli import profile_print
    from policy.profile import UnknownProfile

    try:
        profile = load_profiles(config).get(name)
    except UnknownProfile as error:
        fail(f"mta profile: {error}")
    profile_print.print_profile(profile, as_json=as_json)


def check(
    files: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[FILE.toml ...]", help="Files that the configuration does not name yet."),
    ] = None,
    config: ConfigOption = None,
) -> None:
    """Check the configured profiles, and more files with them. Ends with 2 if there is a mistake."""
    profiles = load_profiles(config, files or [])
    for path in files or []:
        profile = profiles.get(path.stem)
        streams = ", ".join(
            f"{len(rules.settings)} rules for {each.value} mail" for each, rules in profile.streams.items()
        )
        print(f"ok: {path}: {streams}")
    if not files:
        print(f"ok: {len(profiles.names)} profiles: {', '.join(profiles.names)}")


def rules(as_json: JsonOption = False) -> None:
    """List the rules that are installed, with their settings; those of other packages too."""
    from mta.cli import profile_print
    from policy.plugins import installed

    found = installed()
    profile_print.print_rules(found, as_json=as_json)
    if found.broken:
        raise typer.Exit(1)

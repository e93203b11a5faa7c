"""``mta profile``: which profiles there are, what one comes to, and whether a file is right.

Invariants: no store is needed: a profile is checked before there is a service. Inherited settings and defaults are
shown as settings.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mta.cli.context import load_profiles
from mta.cli.options import ConfigOption, JsonOption, group
from mta.cli.output import Column, errors_reported, print_json, print_table, to_json

if TYPE_CHECKING:
    from config.types import Section
    from policy.plugins import RuleClass
    from policy.profile import Profile, StreamRules


def register(app: typer.Typer) -> None:
    commands = group(
        "Profiles: the rules an account's mail must pass (docs/policies.md).",
        ("list", list_),
        ("show", show),
        ("check", check),
        ("rules", rules),
    )
    app.add_typer(commands, name="profile")


def list_(as_json: JsonOption = False, config: ConfigOption = None) -> None:
    """List the profiles that an account can have."""
    profiles = load_profiles(config)
    found = [profiles.get(name) for name in profiles.names]
    if as_json:
        print_json([_outline(profile) for profile in found])
        return
    rows = [
        (
            profile.name,
            profile.line[-2] if len(profile.line) > 1 else "",
            [stream.value for stream in profile.streams],
            profile.about,
        )
        for profile in found
    ]
    columns = (Column("profile", whole=True), "extends", "streams", Column("about", optional=True))
    print_table(columns, rows, empty="No profiles.")


def show(
    name: Annotated[str, typer.Argument(metavar="PROFILE", help="Name of the profile; see `mta profile list`.")],
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Show what a profile comes to with everything it inherits: rules in order, and every setting."""
    with errors_reported():
        profile = load_profiles(config).get(name)
    if as_json:
        print_json(_fields(profile))
    else:
        _print_toml(profile)


def check(
    files: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[FILE.toml ...]", help="Files that the configuration does not name yet."),
    ] = None,
    config: ConfigOption = None,
) -> None:
    """Check the configured profiles, and more files with them. Exits with status 2 if anything is wrong."""
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
    """List the installed rules with their settings, those of other packages included."""
    from policy.plugins import installed

    found = installed()
    classes = dict(sorted(found.classes.items()))
    if as_json:
        told = {name: {"about": _about(rule), "settings": _keys(rule.Settings)} for name, rule in classes.items()}
        print_json({"rules": told, "broken": found.broken})
    else:
        for name, rule in classes.items():
            print(f"{name}: {_about(rule)}")
            for key, setting in _keys(rule.Settings).items():
                print(f"    {key} = {setting['default']}  {setting['meaning']}")
        for name, why in found.broken.items():
            print(f"{name} cannot be used: {why}")
    if found.broken:
        raise typer.Exit(1)


def _print_toml(profile: Profile) -> None:
    """Print the profile as one file that would say the same."""
    from config.describe import show as to_value
    from config.document import to_toml
    from policy.profile_file import TABLES

    print(f"# {profile.name} ({profile.digest}), from {profile.where}")
    if len(profile.line) > 1:
        print(f"# with what it inherits from {', '.join(profile.line[-2::-1])}")
    print(f"about = {to_json(profile.about)}")  # a JSON string is a TOML string
    for stream, rules in profile.streams.items():
        print(f"\n[{stream.value}]\nchain = [")
        for rule in rules.chain.rules:
            print(f'  "{rule.name}",')
        print("]")
        print(f"observe = {to_value(sorted(rules.chain.observed))}")
        print(f'failing = "{rules.chain.failing.value}"')
        for name, settings in rules.settings.items():
            if given := to_toml(settings).strip():
                print(f"\n[{stream.value}.rules.{name}]\n{given}")
    for name in TABLES:
        print(f"\n[{name}]\n{to_toml(getattr(profile, name)).strip()}")


def _about(rule: RuleClass) -> str:
    """Return the first sentence of the rule's module, without the name."""
    import inspect

    module = inspect.getmodule(rule)
    first = (inspect.getdoc(module) or "").partition("\n\n")[0].replace("\n", " ")
    return first.partition(": ")[2] or first


def _keys(settings: type[Section]) -> dict[str, dict[str, str]]:
    """Return default and meaning of each key."""
    from config.describe import find, schema_of
    from config.describe import show as to_value

    schema = schema_of(settings)
    keys: dict[str, dict[str, str]] = {}
    for key in settings.model_fields:
        part, _ = find(schema, (key,))
        default = part.get("default")
        meaning = " ".join(str(part.get("description", "")).split())
        keys[key] = {"default": "none" if default is None else to_value(default), "meaning": meaning}
    return keys


def _outline(profile: Profile) -> dict[str, Any]:
    return {
        "name": profile.name,
        "about": profile.about,
        "from": profile.where,
        "line": profile.line,
        "digest": profile.digest,
        "streams": list(profile.streams),
    }


def _fields(profile: Profile) -> dict[str, Any]:
    from policy.profile_file import TABLES

    chains = {stream.value: _chain(rules) for stream, rules in profile.streams.items()}
    tables = {name: getattr(profile, name).model_dump(mode="json") for name in TABLES}
    return _outline(profile) | {"chains": chains} | tables


def _chain(rules: StreamRules) -> dict[str, Any]:
    return {
        "chain": [
            {
                "rule": name,
                "observed": name in rules.chain.observed,
                "settings": settings.model_dump(mode="json"),
            }
            for name, settings in rules.settings.items()
        ],
        "failing": rules.chain.failing,
    }

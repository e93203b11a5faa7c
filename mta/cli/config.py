"""``mta config``: the schema, its documentation, and the settings in effect."""

from __future__ import annotations

import typer

from mta.cli.options import ConfigOption


def register(app: typer.Typer) -> None:
    group = typer.Typer(help="The schema of the configuration, and the settings in effect.", no_args_is_help=True)
    group.command("schema")(schema)
    group.command("docs")(docs)
    group.command("show")(show)
    app.add_typer(group, name="config")


def schema() -> None:
    """Print the JSON Schema of the configuration file."""
    import json

    from config.schema import Settings

    print(json.dumps(Settings.model_json_schema(), indent=2))


def docs() -> None:
    """Print docs/config.md."""
    from config.document import document

    print(document(), end="")


def show(config: ConfigOption = None) -> None:
    """Print every setting in effect, given or default, without passwords."""
    from config.document import to_toml
    from mta.cli.context import load_settings

    print(to_toml(load_settings(config)), end="")

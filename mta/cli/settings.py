"""Reading the configuration for a command, and nothing of the service.

It must never import the store: ``mta check`` works where there is none.
"""

from __future__ import annotations

from pathlib import Path

from config.load import ConfigError, load_file
from config.schema import Settings
from mta.cli.options import fail, find_config


def load(given: Path | None) -> Settings:
    """The settings, or the mistakes on standard error and exit status 2."""
    try:
        return load_file(find_config(given))
    except ConfigError as error:
        fail("\n".join(error.lines), status=2)

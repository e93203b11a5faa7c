"""Reads the profiles for commands that need no database."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from config.toml import ConfigError
from mta.cli.options import fail
from mta.cli.settings import load as load_settings
from policy.permission.tokens import Tokens
from policy.profile import Profiles, load_profiles
from policy.rule_context import RuleContext


def load(config: Path | None, files: Sequence[Path]) -> Profiles:
    """The configured profiles and those of ``files``, which come before configured ones of the same name; or every
    mistake on standard error, and exit status 2."""
    settings = load_settings(config)
    given = {path.stem for path in files}
    configured = [path for path in settings.policy.profiles if path.stem not in given]
    try:
        return load_profiles([*configured, *files], RuleContext.of(settings, Tokens(bytes(32))))
    except ConfigError as error:
        fail("\n".join(error.lines), status=2)

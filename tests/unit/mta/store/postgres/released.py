"""``python -m tests.unit.mta.store.postgres.released VERSION``: note the schema files of a release, for good."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from mta.store.postgres.migrate import migrations

NOTED = Path(__file__).with_name("released.json")


def noted() -> dict[str, dict[str, str]]:
    """Return the hashes of the schema files by release."""
    found: dict[str, dict[str, str]] = json.loads(NOTED.read_text())
    return found


def present() -> dict[str, str]:
    """Return the hashes of the schema files that are here."""
    return {each.name: each.sha256.hex() for each in migrations()}


if __name__ == "__main__":
    NOTED.write_text(json.dumps({**noted(), sys.argv[1]: present()}, indent=1) + "\n")

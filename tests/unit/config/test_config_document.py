"""The document, the schema and the settings in effect say the same."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from config.document import document, duration, to_toml
from config.load import load_file, load_text
from config.schema import Settings

ROOT = Path(__file__).parents[3]


def test_document_is_up_to_date() -> None:
    assert (ROOT / "docs/config.md").read_text() == document(), "run: mta config docs > docs/config.md"


def test_every_key_has_a_meaning() -> None:
    definitions = Settings.model_json_schema()["$defs"]
    # a key that holds a section is described by the section
    sections = {definition["title"] for definition in definitions.values() if definition["type"] == "object"}
    silent = [
        f"{name}.{key}"
        for name, definition in definitions.items()
        for key, part in definition.get("properties", {}).items()
        if "description" not in part and part.get("$ref", "").rpartition("/")[2] not in sections
        and part.get("items", {}).get("$ref", "").rpartition("/")[2] not in sections
    ]  # fmt: skip
    assert silent == []
    assert all(definitions[name].get("description") for name in sections)


def test_schema_is_json() -> None:
    schema = json.loads(json.dumps(Settings.model_json_schema()))
    assert schema["$defs"]["DatabaseSettings"]["properties"]["timeout"]["default"] == "4s"


def test_shown_settings_read_back(tmp_path: Path) -> None:
    """So every default can also be written down."""
    own = tmp_path / "mta.toml"
    own.write_text(
        '[database]\nurl = "postgresql://mta@db.example.com/mta"\n'
        '[queue]\nretry_schedule = ["1m", "90s", "2.5h", "500ms"]\n'
        '[[routes]]\ndomains = [".a.example", "*"]\nhosts = ["[192.0.2.1]:25"]\ntls = "none"\n'
        '[server]\nuser = "a\\"b\\\\c\\u0007"\n[[submission.listeners]]\nport = 25\nproxy_from = ["10.0.0.0/8"]\n'
    )
    for settings in (load_file(own), load_file(None)):
        assert load_text(to_toml(settings), "shown", Path("/nowhere")) == settings


def test_passwords_are_not_shown(tmp_path: Path) -> None:
    settings = load_text('[database]\nurl = "postgresql://mta:topsecret@db.example.com/mta"', "x", tmp_path)
    assert "topsecret" not in to_toml(settings)
    assert '"postgresql://mta:***@db.example.com/mta"' in to_toml(settings)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0, "0s"), (0.25, "250ms"), (1.5, "1.5s"), (90.0, "90s"), (300.0, "5m"), (86400.0, "1d"), (93600.0, "26h")],
)
def test_duration(seconds: float, text: str) -> None:
    assert duration(seconds) == text

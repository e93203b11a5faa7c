"""Each wrong configuration is rejected by one line, with file, line number and the way out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from config.load import draft_text
from mta.service.config_validation import examine

TABLE = Path(__file__).with_name("config_errors.txt")


def errors() -> Iterator[tuple[str, str, str]]:
    """Yield the name, the text and the message of each."""
    for block in TABLE.read_text().split("\n=== ")[1:]:
        text, message = block.split("\n---\n")
        name, _, text = text.partition("\n")
        yield name, f"{text}\n", message.strip()


ERRORS = tuple(errors())


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files that the texts name."""
    folder = tmp_path_factory.mktemp("config")
    for name, mode in (("chain.pem", 0o644), ("password", 0o600)):
        (folder / name).write_text("secret")
        (folder / name).chmod(mode)
    return folder


@pytest.mark.parametrize(("text", "message"), [error[1:] for error in ERRORS], ids=[error[0] for error in ERRORS])
def test_it_is_rejected_where_it_is_wrong(text: str, message: str, base: Path) -> None:
    draft = draft_text(text, "mta.toml", base)
    examine(draft)
    assert draft.lines() == [message]


def test_the_table_covers_every_part() -> None:
    parts = Counter(name.partition("-")[0].rstrip("s") for name, _, _ in ERRORS)
    assert sum(parts.values()) >= 40
    assert parts.keys() >= {"source", "pool", "rule", "shaping", "automation", "tl", "warmup", "window"}
    assert len({name for name, _, _ in ERRORS}) == len(ERRORS)

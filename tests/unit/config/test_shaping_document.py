"""The configuration in docs/shaping.md is one that is accepted."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

import pytest

from config.load import draft_text
from mta.service.config_validation import examine

TEXT = (Path(__file__).parents[3] / "docs" / "shaping.md").read_text()
BLOCKS = [textwrap.dedent(block) for block in re.findall(r"^ *```toml\n(.*?)^ *```$", TEXT, re.MULTILINE | re.DOTALL)]
ELSEWHERE = re.compile(r"there is no (?:source|pool|provider) ")  # it stands in another block


@pytest.mark.parametrize("block", BLOCKS, ids=[block.split("\n")[0][:40] for block in BLOCKS])
def test_an_example_is_accepted(block: str, tmp_path: Path) -> None:
    draft = draft_text(block, "shaping.md", tmp_path)
    examine(draft)
    assert [line for line in draft.lines() if not ELSEWHERE.search(line)] == []


def test_there_are_examples() -> None:
    assert len(BLOCKS) > 6

"""Whatever the file holds: settings, or ConfigError with lines, and nothing else."""

from __future__ import annotations

import re
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from config.load import ConfigError, load_text
from config.toml import DEFAULTS

SAMPLE = (DEFAULTS / "mta.toml").read_text().splitlines()
KEYS = sorted(set(re.findall(r"\[+[\w.]+\]+|[a-z_]+ =", (DEFAULTS.parent.parent / "docs/config.md").read_text())))
VALUES = [
    '"x"',
    "5",
    "-1",
    "true",
    "[]",
    "{}",
    "[[1]]",
    '"5m"',
    '"64kB"',
    "1.5",
    "nan",
    "inf",
    "1979-05-27",
    '"\\u0000"',
]
LINES = st.one_of(
    st.sampled_from(SAMPLE),
    st.sampled_from(KEYS),
    st.text(max_size=20),
    st.builds(lambda line, value: f"{line.split('=')[0]}= {value}", st.sampled_from(SAMPLE), st.sampled_from(VALUES)),
)


def outcome(text: str) -> None:
    lines = ["mta.toml is right"]
    try:
        load_text(text, "mta.toml", Path("/nowhere"))
    except ConfigError as error:
        lines = error.lines
    assert lines
    assert all(line.startswith("mta.toml") for line in lines)


@given(st.text(max_size=200))
def test_any_text(text: str) -> None:
    outcome(text)


@settings(max_examples=300, deadline=None)
@given(st.lists(LINES, max_size=12))
def test_shuffled_lines(lines: list[str]) -> None:
    outcome("\n".join(lines))


@settings(max_examples=200, deadline=None)
@given(st.integers(0, len(SAMPLE) - 1), st.integers(0, 80), st.text(max_size=3))
def test_changed_in_one_place(line: int, column: int, text: str) -> None:
    changed = list(SAMPLE)
    changed[line] = changed[line][:column] + text + changed[line][column + 1 :]
    outcome("\n".join(changed))

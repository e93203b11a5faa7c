"""Automation rules that cannot be meant are refused, with the line."""

from __future__ import annotations

from pathlib import Path

import pytest

from config.load import ConfigError, load_text

RULE = """
[[shaping.automation]]
name = "r"
codes = ["421"]
samples = ["421 slow down"]
reason = "why"
"""


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ('effects = ["limit"]', "needs connections or message_rates"),
        ("connections = 1", 'no meaning without the effect "limit"'),
        ('effects = ["close"]\nscope = ["site", "mailing"]', "not of: mailing"),
        ('effects = ["pool"]\nscope = ["site"]', "need each other"),
        ('effects = ["pool"]\npool = "default"', "moves mail before its source is chosen"),
        ('effects = ["hold_mailing"]\nscope = ["site"]', 'needs "mailing"'),
        ('effects = ["pool"]\npool = "gone"\nscope = ["site"]', 'there is no pool "gone"'),
        ('providers = ["gmial"]', 'did you mean "gmail"?'),
        ('duration = "31d"', "at most 30d"),
        ('window = "2d"', "at most 1d"),
        ("scope = []", "must not be empty"),
        ("effects = []", "set enabled = false"),
        (RULE, "second rule named r"),
    ],
)
def test_what_cannot_be_meant(more: str, words: str) -> None:
    with pytest.raises(ConfigError) as refused:
        load_text(f"{RULE}{more}\n", "mta.toml", Path("/"))
    assert any(words in line and line.startswith("mta.toml:") for line in refused.value.lines), refused.value


def test_what_fits_everything_or_proves_nothing() -> None:
    with pytest.raises(ConfigError, match="fits every reply"):
        load_text('[[shaping.automation]]\nname = "r"\nreason = "why"\n', "mta.toml", Path("/"))
    with pytest.raises(ConfigError, match="at least one reply"):
        load_text('[[shaping.automation]]\nname = "r"\nreason = "why"\ncodes = ["421"]\n', "mta.toml", Path("/"))


def test_a_shipped_rule_is_changed_by_the_keys_that_are_given() -> None:
    text = '[[shaping.automation]]\nname = "yahoo-tss04"\nduration = "4h"\n'
    settings = load_text(text, "mta.toml", Path("/"))
    rule = settings.shaping.automation[0]
    assert (rule.name, rule.duration, rule.providers) == ("yahoo-tss04", 4 * 3600.0, ["yahoo"])
    assert [each.name for each in settings.shaping.automation].count("yahoo-tss04") == 1

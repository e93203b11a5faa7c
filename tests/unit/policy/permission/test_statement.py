"""What statements say, by samples of five languages: honest ones, and ones that agree to nothing."""

from __future__ import annotations

import tomllib
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from policy.permission.statement import LONGEST, Sender, Statement, StatementGrammar

SAMPLES = Path(__file__).parent / "samples" / "statements.tsv"
OF_SENDERS = tomllib.loads((SAMPLES.parent / "statements_of_senders.toml").read_text(encoding="utf-8"))["statement"]
ROWS = [line.split("\t") for line in SAMPLES.read_text().splitlines() if line and not line.startswith("#")]
grammar = StatementGrammar.shipped()


def lacking(said: Statement) -> set[str]:
    found = {"mail": said.mail, "sender": said.sender is not Sender.NONE, "subject": said.subject}
    return {part for part, is_said in found.items() if not is_said}


@pytest.mark.parametrize(("language", "lacks", "statement"), ROWS)
def test_samples(language: str, lacks: str, statement: str) -> None:
    for code in (language, ""):
        missing = lacking(grammar.read(statement, code))
        assert missing >= set(lacks.split(",")) if lacks != "-" else not missing


@pytest.mark.parametrize("sample", OF_SENDERS, ids=lambda sample: sample["text"][:60])
def test_statements_of_senders(sample: dict[str, Any]) -> None:
    said = grammar.read(sample["text"], sample["language"], (sample["sender"],))
    assert (not lacking(said) and said.sender is not Sender.OTHER) is sample["good"], sample["why"]


@pytest.mark.parametrize(
    ("statement", "lacks"),
    [
        ("Shop B.V. and its affiliates may send me offers by e-mail.", {"sender"}),
        ("Ik ontvang mails met aanbiedingen van Shop B.V. en van andere bedrijven.", {"sender"}),
        ("Send me offers of Shop B.V. by e-mail. We never share your address with partners.", set()),
        ("Untick this box if you do not want emails with offers of Shop B.V.", {"mail", "sender", "subject"}),
        ("Sofern Sie nicht widersprechen, sendet Shop B.V. Ihnen Angebote per E-Mail.", {"mail", "sender", "subject"}),
        ("Shop B.V. may pass my address to other companies, who send me offers.", {"mail", "sender", "subject"}),
        ("Email me about travel, food and wine of Shop B.V.", set()),
    ],
)
def test_parties_silence_and_subjects(statement: str, lacks: set[str]) -> None:
    assert lacking(grammar.read(statement, names=("Shop B.V.",))) == lacks


def test_there_are_enough_of_each_language() -> None:
    honest = Counter(language for language, lacks, _ in ROWS if lacks == "-")
    bad = Counter(language for language, lacks, _ in ROWS if lacks != "-")
    assert all(min(honest[code], bad[code]) >= 6 for code in ("nl", "de", "fr", "es", "en"))


@pytest.mark.parametrize(
    ("statement", "sender", "name"),
    [
        ("Shop B.V. may send me offers by e-mail.", Sender.OWN, ""),
        ("Send me mail with offers of shop.example.", Sender.OWN, ""),
        ("Other Ltd may send me offers by e-mail.", Sender.OTHER, "Other Ltd"),
        ("We may send you offers by e-mail.", Sender.SELF, ""),
        ("I accept the terms of Shop B.V. and want to receive offers of its sponsors by e-mail.", Sender.NONE, ""),
        ("Partners of Shop B.V. may send me offers by e-mail.", Sender.NONE, ""),
        ("Our carefully selected partners may send me offers by e-mail.", Sender.NONE, ""),
        ("YES, SEND ME OFFERS BY E-MAIL FROM TIME TO TIME", Sender.NONE, ""),
        ("YES, SHOP B.V. MAY SEND ME OFFERS BY E-MAIL", Sender.OWN, ""),
    ],
)
def test_who_the_sender_is(statement: str, sender: Sender, name: str) -> None:
    said = grammar.read(statement, names=("Shop B.V.", "shop.example"))
    assert (said.sender, said.name) == (sender, name)


def test_a_long_text_is_read_to_a_limit() -> None:
    hidden = "terms " * LONGEST + ". Shop Ltd may e-mail me offers."
    assert lacking(grammar.read(hidden)) == {"mail", "sender", "subject"}

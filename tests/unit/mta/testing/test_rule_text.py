"""Rules as people write them."""

import pytest

from mta.cli.options import parse_span
from mta.testing.rule_text import parse_rule
from mta.testing.script import FRIENDLY, AfterReply, ReceiverStage, ScriptedReply, ScriptRule, say


def parse(text: str) -> ScriptRule:
    return parse_rule(text, lambda span: parse_span(span).total_seconds())


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        (
            "rcpt grey*@*: 451 4.7.1 come back, then ok",
            ScriptRule(ReceiverStage.RCPT, "grey*@*", (say("451 4.7.1 come back"), FRIENDLY)),
        ),
        ("end 5%: 451 4.3.0 later", ScriptRule(ReceiverStage.END, "*", (say("451 4.3.0 later"),), 0.05)),
        (
            "RCPT *@b.example 0.5%: 550 5.1.1 no",
            ScriptRule(ReceiverStage.RCPT, "*@b.example", (say("550 5.1.1 no"),), 0.005),
        ),
        ("connect: wait 20s", ScriptRule(ReceiverStage.CONNECT, "*", (ScriptedReply(wait=20),))),
        (
            "helo: wait 1s drip 100ms ok".replace("helo", "hello"),
            ScriptRule(ReceiverStage.HELLO, "*", (ScriptedReply(wait=1, pace=0.1),)),
        ),
        (
            "rcpt busy*: 421 4.3.2 too busy, closing and close",
            ScriptRule(ReceiverStage.RCPT, "busy*", (say("421 4.3.2 too busy, closing", end=AfterReply.CLOSE),)),
        ),
        (
            "end lost@*: wait 2s reset",
            ScriptRule(ReceiverStage.END, "lost@*", (ScriptedReply(b"", 2.0, 0.0, AfterReply.RESET),)),
        ),
    ],
)
def test_rules(text: str, rule: ScriptRule) -> None:
    assert parse(text) == rule


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "is not a rule"),
        ("rcpt: ", "is not a rule"),
        ("rcpt 451 later", "is not a rule"),
        ("banner: ok", "'banner' is not a stage: connect, hello"),
        ("end 0%: ok", "is not a share"),
        ("end 101%: ok", "is not a share"),
        ("end: 999 what", "is not an act"),
        ("end: slam the door", "is not an act"),
        ("end: wait soon", "'soon' is not a duration"),
    ],
)
def test_a_mistake_is_told_with_its_cure(text: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint.replace("(", r"\(")):
        parse(text)

"""Mail that is no bounce, whatever it says of returned mail: 25 kinds in eight languages, and mixtures with bounces."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.ordinary_mail import ordinary_mail
from bounce.classify import Classifier
from bounce.parsers.report_kinds import Report, ReportedAction, ReportKind
from bounce.report import read
from bounce.rules import load_rules

SAMPLES = Path(__file__).parents[1] / "unit/bounce/samples/bounces"
BOUNCES = [path.read_bytes() for path in sorted(SAMPLES.glob("*.eml"))]
ORDINARY = dict(ordinary_mail())
BY_PEOPLE = ("asks", "quotes", "pastes", "answers", "forwards", "vacation", "vacation_unmarked", "moved", "newsletter")
OF_PEOPLE = [content for name, content in ORDINARY.items() if name.split()[1] in BY_PEOPLE]
ANSWERS = {"ticket": "auto_reply", "vacation": "auto_reply", "moved": "auto_reply", "challenge": "challenge"}


@cache
def classifier() -> Classifier:
    return Classifier(load_rules())


def check(report: Report) -> None:
    assert report.form != "unreadable"
    assert report.kind is not ReportKind.BOUNCE
    assert not any(part.hard or part.suppress or part.action is ReportedAction.FAILED for part in report.recipients)


def test_there_are_200() -> None:
    assert len(ORDINARY) == 200


@pytest.mark.parametrize("name", ORDINARY)
def test_ordinary_mail_is_no_bounce(name: str) -> None:
    report = read(ORDINARY[name], classifier())
    check(report)
    assert report.kind.value in ("other", "auto_reply", "receipt", ANSWERS.get(name.split()[1], "other"))
    if name.split()[1] in ANSWERS:
        assert report.kind.value == ANSWERS[name.split()[1]]


def parts(content: bytes) -> tuple[bytes, bytes]:
    header, _, body = content.partition(b"\n\n")
    return header, body


@given(st.sampled_from(OF_PEOPLE), st.sampled_from([*ORDINARY.values(), *BOUNCES]), st.floats(0, 1), st.floats(0, 1))
@settings(deadline=None)
def test_no_half_of_a_bounce_makes_one_of_what_people_write(
    ours: bytes, other: bytes, first: float, second: float
) -> None:
    header, own = parts(ours)
    _, body = parts(other)
    half = own[: int(len(own) * first)] + b"\n\n" + body[int(len(body) * second) :]
    check(read(header + b"\n\n" + half, classifier()))


@given(st.sampled_from(BOUNCES), st.sampled_from([*ORDINARY.values(), *BOUNCES]), st.floats(0, 1), st.floats(0, 1))
@settings(deadline=None)
def test_halves_of_bounces_are_read_without_an_error(one: bytes, other: bytes, first: float, second: float) -> None:
    report = read(one[: int(len(one) * first)] + other[int(len(other) * second) :], classifier())
    assert report.form != "unreadable"
    assert all(part.action is ReportedAction.FAILED for part in report.recipients if part.hard or part.suppress)

"""Newsletters in five languages, most of them honest, through three profiles."""

from __future__ import annotations

import pytest

from tests.cases.newsletters import PROFILES, Newsletter, newsletters


def cases(*, honest: bool) -> list[object]:
    """The honest ones or the bad ones. One that is still judged wrong must be known to be."""
    return [
        pytest.param(
            one,
            id=f"{one.language}: {one.name}",
            marks=[pytest.mark.xfail(reason=one.open, strict=True)] if one.open else [],
        )
        for one in newsletters()
        if (one.right == "pass") is honest
    ]


@pytest.mark.parametrize("newsletter", cases(honest=True))
def test_an_honest_newsletter_passes(newsletter: Newsletter) -> None:
    assert {profile: newsletter.verdict(profile) for profile in PROFILES} == {profile: {} for profile in PROFILES}


@pytest.mark.parametrize("newsletter", cases(honest=False))
def test_a_bad_one_is_refused_for_what_it_lacks(newsletter: Newsletter) -> None:
    assert set(newsletter.verdict("cleverreach")) == set(newsletter.right.split())

"""Newsletters in five languages, most of them honest, through three profiles."""

from __future__ import annotations

import pytest

from tests.cases.newsletters import PROFILES, Newsletter, newsletters

ALL = tuple(newsletters())


def ids(newsletter: Newsletter) -> str:
    return f"{newsletter.language}: {newsletter.name}"


@pytest.mark.parametrize("newsletter", [one for one in ALL if one.right == "pass"], ids=ids)
def test_an_honest_newsletter_passes(newsletter: Newsletter) -> None:
    assert {profile: newsletter.verdict(profile) for profile in PROFILES} == {profile: {} for profile in PROFILES}


@pytest.mark.parametrize("newsletter", [one for one in ALL if one.right != "pass"], ids=ids)
def test_a_bad_one_is_refused_for_what_it_lacks(newsletter: Newsletter) -> None:
    assert set(newsletter.verdict("cleverreach")) == set(newsletter.right.split())

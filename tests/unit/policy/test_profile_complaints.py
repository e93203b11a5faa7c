"""The clocks of complaints in profiles: inherited key by key, checked with file and line."""

from __future__ import annotations

from pathlib import Path

import pytest

from config.toml import ConfigError
from policy.profile import Profiles, load_profiles
from policy.reputation.complaint import Clocks, Overdue, Until
from tests.unit.policy.make import CONTEXT

HOUR = 3600.0


@pytest.fixture(scope="module")
def shipped() -> Profiles:
    return Profiles.shipped(CONTEXT)


def clocks(profiles: Profiles, name: str) -> Clocks:
    return profiles.get(name).complaints


def test_the_policies_contradict_one_another(shipped: Profiles) -> None:
    """24 hours to answer, or 48 hours until there is an agreement."""
    spotler, custommail = clocks(shipped, "spotler"), clocks(shipped, "custommail")
    assert (spotler.answer_within, spotler.until, spotler.stop_within) == (24 * HOUR, Until.ANSWERED, 2 * HOUR)
    assert (custommail.answer_within, custommail.until) == (48 * HOUR, Until.AGREED)
    assert spotler.overdue is custommail.overdue is Overdue.SUSPEND


def test_customers_of_cleverreach_have_the_counter_of_the_csa(shipped: Profiles) -> None:
    cleverreach = clocks(shipped, "cleverreach")
    assert (cleverreach.csa_notices, cleverreach.csa_within) == (3, 180 * 24 * HOUR)
    assert cleverreach.answer_within == 24 * HOUR


def test_every_profile_suspends_in_the_end(shipped: Profiles) -> None:
    for name in shipped.names:
        assert clocks(shipped, name).overdue is Overdue.SUSPEND
        assert clocks(shipped, name).answer_within <= 48 * HOUR


def test_what_a_profile_does_not_say_it_inherits_and_mail_is_judged_as_before(tmp_path: Path) -> None:
    own = tmp_path / "own.toml"
    own.write_text('extends = "custommail"\n[complaints]\noverdue = "tell"\nupheld = 0\n')
    profiles = load_profiles([own], CONTEXT)
    found = clocks(profiles, "own")
    assert (found.overdue, found.upheld, found.until) == (Overdue.TELL, 0, Until.AGREED)
    assert profiles.digest("own") == profiles.digest("custommail")


def test_mistakes_have_their_line(tmp_path: Path) -> None:
    own = tmp_path / "own.toml"
    own.write_text('extends = "csa"\n[complaints]\nanswer_within = 24\nuntil = "forgotten"\nupheldd = 3\n')
    with pytest.raises(ConfigError) as caught:
        load_profiles([own], CONTEXT)
    lines = [line.replace(f"{tmp_path}/", "") for line in caught.value.lines]
    assert len(lines) == 3
    assert lines[0].startswith("own.toml:3: complaints.answer_within: 24 is not valid")
    assert "own.toml:4: complaints.until" in lines[1]
    assert 'did you mean "upheld"' in lines[2] or "upheld" in lines[2]

"""What a profile asks of a mailing, for those who create and confirm one."""

from __future__ import annotations

from policy.accounts.account import Stream
from policy.profile import Profiles
from policy.rules.mailing.confirmation import Confirmed
from policy.rules.mailing.sampling import Sampling


def sample_size(profiles: Profiles, profile: str) -> int | None:
    """Return how many messages of a first mailing to a new list are sent unchecked; None: all.

    Raises UnknownProfile.
    """
    rules = profiles.get(profile).streams.get(Stream.MARKETING)
    sampling = rules.settings.get(Sampling.name) if rules else None
    return sampling.size if isinstance(sampling, Sampling.Settings) else None


def needs_reference(profiles: Profiles, profile: str) -> bool:
    """Return whether a mailing is confirmed with a message only. Raises UnknownProfile."""
    rules = profiles.get(profile).streams.get(Stream.MARKETING)
    asked = rules.settings.get(Confirmed.name) if rules else None
    return isinstance(asked, Confirmed.Settings) and asked.reference == "required"

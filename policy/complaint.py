"""Complaint cases: a complaint that somebody must answer, with a clock.

It must never let a deadline pass in silence, nor close a case that nobody has answered.
"""

from __future__ import annotations

from enum import Enum


class Source(Enum):
    """Where a complaint comes from. ``REGULATOR`` goes before everything else."""

    FEEDBACK_LOOP = "feedback_loop"
    RECIPIENT = "recipient"
    BLOCKLIST = "blocklist"
    ADVERTISING_BODY = "advertising_body"
    REGULATOR = "regulator"
    PROVIDER = "provider"
    CSA = "csa"
    BREAKER = "breaker"  # our own: rates that got out of hand


class State(Enum):
    """Where a case is in its life."""

    OPEN = "open"
    SENT = "sent"  # the account was told
    ANSWERED = "answered"
    AGREED = "agreed"
    CLOSED = "closed"
    OVERDUE = "overdue"
    SUSPENDED = "suspended"  # the account is, because of it

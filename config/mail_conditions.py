"""Conditions on mail, which several tables have."""

# ruff: noqa: RUF012 (pydantic copies a mutable default for each instance)
from __future__ import annotations

from typing import Literal

from config.types import Section


class MailConditionSettings(Section):
    """Which mail a table is for. All conditions that are set must be met; an empty list is no condition."""

    accounts: list[str] = []
    """Names of accounts."""
    profiles: list[str] = []
    """Profiles of accounts."""
    streams: list[Literal["transactional", "marketing"]] = []
    """Streams."""
    mailings: list[str] = []
    """Mailing ids; `*` at the end for any continuation."""
    domains: list[str] = []
    """Recipient domains; `.example.com` for all subdomains."""

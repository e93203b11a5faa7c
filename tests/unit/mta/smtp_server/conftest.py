"""No test of sessions may end with an internal error in the log, but those that ask for one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from structlog.testing import capture_logs


@pytest.fixture
def internal_errors_expected() -> None:
    """For tests that cause them."""


@pytest.fixture(autouse=True)
def logs(request: pytest.FixtureRequest) -> Iterator[list[Any]]:
    """What the test has logged so far."""
    with capture_logs() as lines:
        yield lines
    if "internal_errors_expected" not in request.fixturenames:
        assert [line for line in lines if line["log_level"] == "error"] == []

"""The deadline cuts a connection between any two steps of the driver that uses it.

Then the driver raises whatever its code happens to meet: AttributeError of a protocol that is None was what stopped a
worker for good. The connection of this test ends at the n-th use of its protocol, for every n of every store call.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import AsyncIterator
from typing import Any, ClassVar

import asyncpg
import pytest

from mta.store.postgres import database
from mta.store.postgres.secrets import Secrets
from tests.faults.recovery import Subject, subject
from tests.faults.store_calls import CALLS

# Questions of ours that the driver answers without waiting for anything: no deadline can strike within them.
_AT_ONCE = {"is_closed", "get_server_pid", "is_in_transaction", "terminate", "_abort"}
MOST = 500  # uses of the protocol in one call


class FragileConnection(asyncpg.Connection):  # type: ignore[misc]
    """Ends when ``left`` counts down to 0; only while a call of the test is under way."""

    left: ClassVar[int] = 0

    @property
    def _protocol(self) -> Any:
        kind = FragileConnection
        if kind.left > 0 and sys._getframe(1).f_code.co_name not in _AT_ONCE:
            kind.left -= 1
            if kind.left == 0:
                self.terminate()
        return self._held

    @_protocol.setter
    def _protocol(self, value: Any) -> None:
        self._held = value


@pytest.fixture
async def fragile(database_url: str, secrets: Secrets, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Subject]:
    connect = functools.partial(asyncpg.connect, connection_class=FragileConnection)
    monkeypatch.setattr(database.asyncpg, "connect", connect)
    async with subject(database_url, database_url, secrets) as made:
        yield made


def _arm(number: int) -> None:
    FragileConnection.left = number


def _disarm() -> bool:
    struck, FragileConnection.left = FragileConnection.left == 0, 0
    return struck


@pytest.mark.parametrize("name", CALLS)
async def test_every_step_of_every_call(fragile: Subject, name: str) -> None:
    for number in range(1, MOST):
        _, struck = await fragile.strike(name, functools.partial(_arm, number), _disarm)
        if not struck:
            break
    assert number > 1

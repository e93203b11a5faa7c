"""The world of the flow tests, for cases that need a running service."""

from tests.flow.conftest import world as world

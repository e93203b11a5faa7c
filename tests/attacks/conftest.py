"""One service for all tests of a file."""

from tests.shared_world import directory, module_database_url, world

__all__ = ["directory", "module_database_url", "world"]

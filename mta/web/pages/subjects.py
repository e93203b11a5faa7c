"""All subjects that have pages."""

from __future__ import annotations

from collections.abc import Iterator

from mta.web.pages import messages, overview, profile, queue
from mta.web.pages.frame import PageRoute


def all_routes() -> Iterator[PageRoute]:
    """Yield the routes of all pages."""
    for subject in (overview, queue, messages, profile):
        yield from subject.routes

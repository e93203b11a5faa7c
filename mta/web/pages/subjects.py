"""All subjects that have pages."""

from __future__ import annotations

from collections.abc import Iterator

from mta.web.pages import (
    complaint_pages,
    delivery_pages,
    message_pages,
    overview,
    profile,
    queue_pages,
    service_pages,
    suppression_pages,
    tool_pages,
)
from mta.web.pages.frame import PageRoute

SUBJECTS = (
    overview,
    queue_pages,
    message_pages,
    suppression_pages,
    complaint_pages,
    delivery_pages,
    tool_pages,
    service_pages,
    profile,
)


def all_routes() -> Iterator[PageRoute]:
    """Yield the routes of all pages."""
    for subject in SUBJECTS:
        yield from subject.routes

"""All subjects that have pages."""

from __future__ import annotations

from collections.abc import Iterator

from mta.web.pages import (
    account_pages,
    complaint_pages,
    consent_pages,
    delivery_pages,
    mailing_pages,
    message_pages,
    message_test_pages,
    overview,
    profile,
    queue_pages,
    sender_pages,
    service_pages,
    source_pages,
    suppression_pages,
    tool_pages,
)
from mta.web.pages.frame import PageRoute

SUBJECTS = (
    overview,
    queue_pages,
    sender_pages,
    message_pages,
    message_test_pages,
    suppression_pages,
    account_pages,
    complaint_pages,
    consent_pages,
    delivery_pages,
    source_pages,
    mailing_pages,
    tool_pages,
    service_pages,
    profile,
)


def all_routes() -> Iterator[PageRoute]:
    """Yield the routes of all pages."""
    for subject in SUBJECTS:
        yield from subject.routes

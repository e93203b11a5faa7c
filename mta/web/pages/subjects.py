"""All subjects that have pages."""

from __future__ import annotations

from collections.abc import Iterator

from mta.web.pages import (
    complaint_pages,
    consent_pages,
    delivery_pages,
    mailing_pages,
    message_pages,
    overview,
    profile,
    queue_pages,
    service_pages,
    source_pages,
    suppression_pages,
)
from mta.web.pages.frame import PageRoute
from mta.web.pages.senders import (
    account_pages,
    credential_pages,
    domain_pages,
    form_pages,
    key_pages,
    paper_pages,
    webhook_pages,
)
from mta.web.pages.tools import bounce_test_pages, destination_test_pages, message_test_pages

SUBJECTS = (
    overview,
    queue_pages,
    key_pages,
    domain_pages,
    credential_pages,
    webhook_pages,
    form_pages,
    message_pages,
    suppression_pages,
    account_pages,
    paper_pages,
    complaint_pages,
    consent_pages,
    delivery_pages,
    source_pages,
    mailing_pages,
    message_test_pages,
    bounce_test_pages,
    destination_test_pages,
    service_pages,
    profile,
)


def all_routes() -> Iterator[PageRoute]:
    """Yield the routes of all pages."""
    for subject in SUBJECTS:
        yield from subject.routes

"""The addresses at the returns domain."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mta.mail.address import Address
from mta.reports.mailboxes import ReportMailbox, mailbox_of

DOMAIN = "returns.example.com"


@pytest.mark.parametrize(
    ("local", "mailbox"),
    [
        ("bounce+123", ReportMailbox.BOUNCE),
        ("BOUNCE+123", ReportMailbox.BOUNCE),
        ("bounce", None),  # nobody's return path
        ("fbl", ReportMailbox.FEEDBACK),
        ("fbl+yahoo", ReportMailbox.FEEDBACK),
        ("Unsubscribe", ReportMailbox.UNSUBSCRIBE),
        ("unsubscribe+abc", ReportMailbox.UNSUBSCRIBE),
        ("abuse", ReportMailbox.ABUSE),
        ("postmaster", ReportMailbox.POSTMASTER),
        ("ann", None),
        ("fbl.yahoo", None),
        ('"fbl "', None),
        ("", None),
    ],
)
def test_mailboxes(local: str, mailbox: ReportMailbox | None) -> None:
    assert mailbox_of(Address(local, DOMAIN), DOMAIN) is mailbox
    assert mailbox_of(Address(local, "example.com"), DOMAIN) is None


@given(st.text(max_size=30))
def test_no_other_name_is_known(local: str) -> None:
    name = local.lower().partition("+")[0]
    known = mailbox_of(Address(local, DOMAIN), DOMAIN)
    assert known is None or known.value == name

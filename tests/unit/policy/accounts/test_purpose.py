"""What transactional mail was granted for, told by sample subjects."""

from __future__ import annotations

import pytest

from policy.accounts.purpose import Purpose, PurposeError


@pytest.mark.parametrize(
    ("purpose", "subject", "fits"),
    [
        ("order: Your order * is on its way", "Your order 1234 is on its way", True),
        ("order: Your order *", "YOUR  ORDER 17", True),
        ("order: Your order *", "Re: Your order 17", False),
        ("order: Your order * is on its way", "Your order is late", False),
        ("password: Reset your password", "Reset your password", True),
        ("password: Reset your password", "Reset your password now, 50 % off", False),
        ("ticket: [Ticket #*] *answered", "[Ticket #17] Ann answered", True),
        ("ticket: [Ticket #*] *answered", "Ticket 17 answered", False),
        ("rechnung: Ihre Rechnung *", "Ihre Rechnung für Äpfel", True),
        ("order: Order.*", "Orders", False),  # only * is special
    ],
)
def test_a_subject_fits_a_sample_as_a_whole(purpose: str, subject: str, fits: bool) -> None:
    assert Purpose.parse(purpose).fits(subject) is fits


@pytest.mark.parametrize("text", ["order", ": Your order", "order:", "order: *", "order: a* b*", "a: line\nline"])
def test_what_says_nothing_is_no_purpose(text: str) -> None:
    with pytest.raises(PurposeError):
        Purpose.parse(text)


def test_it_is_written_as_it_was_read() -> None:
    assert str(Purpose.parse(" order :  Your order * ")) == "order: Your order *"

"""The same text to many is told apart from many texts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from mta.submission.repeated_texts import RepeatedTexts
from policy.text.same_text import sketch_of

NOW = datetime(2026, 11, 30, 12, 10, tzinfo=UTC)
TEXT = """Dear {name}, autumn is here. All coats are half price this week. Shoes too, in every size.
Come to our shop in the High Street: it is open until nine. Your voucher is {code}.
Only while stocks last! We look forward to seeing you. The Corner Shop team"""


def test_names_and_numbers_make_no_other_text() -> None:
    texts = RepeatedTexts()
    for n in range(50):
        sketch = sketch_of([TEXT.format(name=f"Reader{chr(97 + n % 26)}", code=f"X{n * 7919}")])
        assert texts.seen(1, sketch, NOW) == n
        texts.count(1, sketch, 1, NOW)
    assert texts.seen(2, sketch, NOW) == 0
    assert texts.seen(1, sketch, NOW + timedelta(hours=1)) == 0


def test_other_texts_are_others() -> None:
    texts = RepeatedTexts()
    texts.count(1, sketch_of([TEXT]), 400, NOW)
    order = "Your order is on its way. It arrives on Monday. Two books about trees. Thank you for your purchase."
    assert texts.seen(1, sketch_of([order]), NOW) == 0
    assert texts.seen(1, sketch_of([""]), NOW) == 0

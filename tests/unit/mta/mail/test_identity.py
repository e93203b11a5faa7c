from __future__ import annotations

import pytest

from mta.mail.identity import format_id, new_message_id, parse_id


def test_written_and_read_back() -> None:
    for _ in range(100):
        message_id = new_message_id()
        assert message_id.version == 7
        assert parse_id(format_id(message_id)) == message_id
        assert parse_id(format_id(message_id).upper()) == message_id


def test_later_ids_sort_later(monkeypatch: pytest.MonkeyPatch) -> None:
    written = []
    for nanoseconds in (
        0,
        250,
        500,
        999_750,
        10**6,
        10**6 + 250,
        3 * 10**8,
        7 * 10**13,
        2**47 * 10**6,
        2**48 * 10**6 - 1,
    ):
        monkeypatch.setattr("time.time_ns", lambda now=nanoseconds: now)
        made = new_message_id()
        assert made.int >> 80 == nanoseconds // 10**6
        assert (made.version, made.variant) == (7, "specified in RFC 4122")
        written.append(format_id(made))
    assert written == sorted(written)
    assert len(set(written)) == len(written)


@pytest.mark.parametrize("text", ["", "abc", "u" * 26, "z" * 26, "0" * 27])
def test_refuses_what_is_no_id(text: str) -> None:
    with pytest.raises(ValueError, match="not a message id"):
        parse_id(text)

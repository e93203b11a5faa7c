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
    for millis in (1, 2, 300, 70_000, 2**40):
        monkeypatch.setattr("time.time_ns", lambda millis=millis: millis * 1_000_000)
        written.append(format_id(new_message_id()))
    assert written == sorted(written)


@pytest.mark.parametrize("text", ["", "abc", "u" * 26, "z" * 26, "0" * 27])
def test_refuses_what_is_no_id(text: str) -> None:
    with pytest.raises(ValueError, match="not a message id"):
        parse_id(text)

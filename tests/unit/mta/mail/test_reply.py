from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mta.mail.reply import MAX_TEXT, Reply, ReplyKind, sanitise


def test_splits_off_the_enhanced_code() -> None:
    assert Reply.parse(550, "5.1.1 No such user") == Reply(550, "5.1.1", "No such user")


def test_of_every_line() -> None:
    assert Reply.parse(550, "5.1.1 No such\n5.1.1 user") == Reply(550, "5.1.1", "No such\nuser")


@pytest.mark.parametrize(
    ("code", "text", "status"),
    [
        (550, "No", "5.0.0"),
        (250, "ok", "2.0.0"),
        (450, "5.1.1 contradicts", "4.0.0"),
        (999, "5.1.1 x", "4.0.0"),
        (-1, "", "4.0.0"),
    ],
)
def test_makes_up_a_status_where_none_is_believable(code: int, text: str, status: str) -> None:
    assert Reply.parse(code, text).status == status


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (250, ReplyKind.POSITIVE),
        (252, ReplyKind.POSITIVE),
        (421, ReplyKind.TRANSIENT),
        (550, ReplyKind.PERMANENT),
        (354, ReplyKind.TRANSIENT),
        (999, ReplyKind.TRANSIENT),
        (-1, ReplyKind.TRANSIENT),
    ],
)
def test_only_a_5xx_is_a_reason_to_give_up(code: int, kind: ReplyKind) -> None:
    assert Reply.parse(code, "").kind is kind


def test_reads_what_people_paste() -> None:
    pasted = "550-5.7.1 Our system has detected\n550 5.7.1 something"
    assert Reply.read(pasted) == Reply(550, "5.7.1", "Our system has detected\nsomething")
    with pytest.raises(ValueError, match="three-digit"):
        Reply.read("no such user")


@given(st.text(st.characters(), max_size=300))
def test_any_text_becomes_storable(text: str) -> None:
    clean = sanitise(text)
    assert "\x00" not in clean
    assert clean.encode("utf-8").decode("utf-8") == clean
    assert sanitise(clean) == clean


def test_lone_surrogates_go() -> None:
    assert sanitise("a\udcffb\x1b[31m") == "a\ufffdb\ufffd[31m"


def test_long_text_is_cut() -> None:
    assert len(sanitise("x" * 100_000)) == MAX_TEXT

"""Our own traces in what comes back, and nobody else's."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from bounce.parsers.mime import Fields
from bounce.parsers.report_kinds import Original
from bounce.verp import ReturnPath, Verp
from mta.mail.identity import format_id, new_message_id
from mta.reports.attribution import Attribution, in_report, token_in
from policy.permission.tokens import Claim, Tokens

TOKENS, FOREIGN = Tokens(bytes(32)), Tokens(bytes(range(32)))
VERP = Verp("returns.example.com", {1: bytes(32)}, timedelta(days=30))
CLAIM = Claim("c", 7, bytes(16), "01j0000000000000000000000a", "offers")
NOW = datetime.now(UTC)


def original(**fields: str) -> Original:
    return Original(b"", Fields(tuple((name.replace("_", "-"), value) for name, value in fields.items())))


def test_tokens_are_found_in_the_fields_that_carry_them() -> None:
    token = TOKENS.make(CLAIM)
    link = f"<https://a.example/u/{token}>, <mailto:unsubscribe@returns.example.com?subject={token}>"
    for found in (original(cfbl_feedback_id=token), original(list_unsubscribe=link)):
        assert in_report(b"", found, TOKENS, VERP, NOW).claim == CLAIM
    for other in (original(cfbl_feedback_id=FOREIGN.make(CLAIM)), original(subject=token)):
        assert in_report(b"", other, TOKENS, VERP, NOW) == Attribution()


def test_a_return_path_counts_wherever_it_stands() -> None:
    path = VERP.make(message_id := new_message_id(), 3)
    found = in_report(f"Original-Mail-From: <{str(path).upper()}>\r\n".encode(), Original(), TOKENS, VERP, NOW)
    assert found.path == ReturnPath(message_id, 3)
    later = NOW + timedelta(days=31)
    assert in_report(str(path).encode(), Original(), TOKENS, VERP, later).path is None


def test_ids_are_hints_only() -> None:
    message_id = new_message_id()
    received = f"from a by mta.example.com with ESMTP id {format_id(message_id)}; Mon"
    found = in_report(b"", original(received=received), TOKENS, VERP, NOW)
    assert found.message_ids == (message_id,)
    assert (found.claim, found.path) == (None, None)


def test_a_folded_subject_is_one_token() -> None:
    token = TOKENS.make(CLAIM)
    assert token_in(f"Re: {token[:60]} {token[60:]}"[4:], TOKENS) == CLAIM
    assert token_in("unsubscribe", TOKENS) is None
    assert token_in(token[:-1], TOKENS) is None


@given(st.binary(max_size=400), st.text(max_size=300))
def test_anything_may_come(content: bytes, value: str) -> None:
    found = in_report(content, original(received=value, list_unsubscribe=value), TOKENS, VERP, NOW)
    assert (found.claim, found.path) == (None, None)

"""The table of a session's states, against RFC 5321 4.1.4 in other words."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mta.mail.reply import Reply
from mta.smtp_server.commands import VERBS
from mta.smtp_server.states import AFTER_REJECTION, TRANSITIONS, State

IN_TRANSACTION = {State.MAIL, State.NO_RCPT, State.RCPT, State.BDAT}


def test_every_state_knows_every_command() -> None:
    assert set(TRANSITIONS) == set(State)
    for row in TRANSITIONS.values():
        assert set(row) == VERBS | {"BDAT LAST"}


def test_a_command_out_of_order_is_answered_503_or_554() -> None:
    answers = [answer for row in TRANSITIONS.values() for answer in row.values() if isinstance(answer, Reply)]
    assert {(answer.code, answer.status) for answer in answers} == {(503, "5.5.1"), (554, "5.5.1")}


def test_what_a_rejection_leads_to_is_for_commands_in_order() -> None:
    for (state, verb), reached in AFTER_REJECTION.items():
        assert isinstance(TRANSITIONS[state][verb], State)
        assert reached is not state


events = st.lists(st.tuples(st.sampled_from(sorted(VERBS | {"BDAT LAST"})), st.booleans()), max_size=40)


@given(events)
def test_a_walk_through_the_states(walk: list[tuple[str, bool]]) -> None:
    """Beside the table: what has been said so far, and what follows from it."""
    state = State.CONNECTED
    greeted = mail = rcpt = tried = chunk = False
    for event, accepted in walk:
        verb = event.partition(" ")[0]
        then = TRANSITIONS[state][event]
        allowed = {
            "AUTH": greeted and not mail,
            "MAIL": greeted and not mail,
            "RCPT": mail and not chunk,
            "DATA": rcpt and not chunk,
            "BDAT": rcpt,
        }.get(verb, True)
        assert isinstance(then, State) is allowed
        if isinstance(then, Reply):
            continue
        state = then if accepted else AFTER_REJECTION.get((state, verb), state)
        if verb in ("EHLO", "HELO", "STARTTLS", "RSET") and accepted:
            greeted = greeted if verb == "RSET" else verb != "STARTTLS"
            mail = rcpt = tried = chunk = False
        elif verb == "MAIL":
            mail = accepted
        elif verb == "RCPT":
            rcpt, tried = rcpt or accepted, True
        elif verb == "DATA" or event == "BDAT LAST" or (verb == "BDAT" and not accepted):
            mail = rcpt = tried = chunk = False
        elif verb == "BDAT":
            chunk = True
        assert (state in IN_TRANSACTION) is mail
        assert (state is State.CONNECTED) is not greeted
        assert (state is State.BDAT) is chunk
        assert (state is State.NO_RCPT) is (tried and not rcpt)

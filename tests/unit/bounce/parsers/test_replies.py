"""Replies are found where reports hide them, and nowhere else."""

from __future__ import annotations

import pytest

from bounce.parsers.replies import host_of, quotes_reply, reply_of, stage_of
from mta.mail.delivery import Stage


@pytest.mark.parametrize(
    ("text", "status", "reply"),
    [
        ("550 5.1.1 <ann@example.com>: User unknown", "5.1.1", "550 5.1.1 <ann@example.com>: User unknown"),
        ("host mx said: 550-5.1.1 One 550 5.1.1 two (in reply to RCPT TO command)", "5.0.0", "550 5.1.1 One\ntwo"),
        ("Remote Server returned '554 5.2.2 mailbox full'", "", "554 5.2.2 mailbox full'"),
        ("(reason: 550 User unknown)", "5.0.0", "550 5.0.0 User unknown)"),
        ("550: 5.1.1 User unknown", "", "550 5.1.1 User unknown"),
        ("550 : User unknown", "", "550 5.0.0 User unknown"),
        (
            "Sorry, no mailbox here by that name. (#5.1.1)",
            "",
            "550 5.1.1 Sorry, no mailbox here by that name. (#5.1.1)",
        ),
        ("550 sorry, no mailbox here (#5.7.1)", "5.0.0", "550 5.7.1 sorry, no mailbox here (#5.7.1)"),
        ("550 no", "5.1.1", "550 5.1.1 no"),
        ("unknown user", "5.1.1", "550 5.1.1 unknown user"),
        ("try later", "4.2.0", "450 4.2.0 try later"),
        ("mailbox of 500 MB, 2010 mails", "", "550 5.0.0 mailbox of 500 MB, 2010 mails"),
        ("", "", "550 5.0.0 "),
    ],
)
def test_reply(text: str, status: str, reply: str) -> None:
    assert str(reply_of(text, status, failed=True)) == reply


def test_a_delay_without_reply_is_a_450() -> None:
    assert reply_of("no answer", "", failed=False).code == 450


@pytest.mark.parametrize("text", ["SIZE=1543: ok", "on 29 Apr 2010 23:34", "host 192.0.2.5 [450]", "up to 500 of them"])
def test_other_numbers_are_no_replies(text: str) -> None:
    assert not quotes_reply(text)


@pytest.mark.parametrize(
    ("text", "stage"),
    [
        ("said: 550 no (in reply to RCPT TO command)", Stage.RECIPIENT),
        ("SMTP error from remote mail server after MAIL FROM:<a@b>", Stage.SENDER),
        ("said: 550 no (in reply to end of DATA command)", Stage.FINAL_DOT),
        ("did not like our final DATA", Stage.FINAL_DOT),
        ("host mx refused to talk to me: 554", Stage.CONNECT),
        (">>> DATA\n<<< 550 no", Stage.DATA),
        ("192.0.2.1 does not like recipient.", Stage.RECIPIENT),
        ("no idea", None),
    ],
)
def test_stage(text: str, stage: Stage | None) -> None:
    assert stage_of((text,)) is stage


def test_host() -> None:
    assert host_of("SMTP error: host mx.example.com [192.0.2.1]: 550 no") == "mx.example.com"
    assert host_of("nobody") is None

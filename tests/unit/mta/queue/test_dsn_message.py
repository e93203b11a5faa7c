"""Who is told what (RFC 3461), and that what is sent is a report that any program can read (RFC 3464, 6522, 6533)."""

from __future__ import annotations

import email
import email.policy
from datetime import UTC, datetime, timedelta
from email.message import Message

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mta.mail.address import Address
from mta.mail.delivery import (
    Action,
    Attempt,
    Classification,
    Deferred,
    Delivered,
    Delivery,
    Failed,
    Fault,
    Host,
    Outcome,
    QueuedRecipient,
    Result,
    Stage,
)
from mta.mail.headers import Headers
from mta.mail.identity import new_message_id
from mta.mail.message import Body, Notify, Return
from mta.mail.reply import Reply
from mta.queue.dsn import dsn_words
from mta.queue.dsn_message import DsnKind, DsnMessage, DsnRecipient, compose, wanted
from policy.languages import TextLanguage

NOW = datetime(2025, 3, 4, 5, 6, 7, tzinfo=UTC)
FAILURE = Classification("bad_mailbox", Fault.RECIPIENT, Action.SUPPRESS, "user-unknown")
CONTENT = b"From: news@sender.example\r\nSubject: Hello\r\nX-Long: a\r\n b\r\n\r\nBody\r\n--=_notice\r\n"


def recipient(name: str = "ann", notify: Notify | None = None, orcpt: str | None = None) -> QueuedRecipient:
    return QueuedRecipient(0, Address.parse(f"{name}@example.com"), 1, notify, orcpt)


def failed(to: QueuedRecipient | None = None, reply: Reply | None = None, *, expired: bool = False) -> Failed:
    return Failed(
        Result(to or recipient(), Stage.RECIPIENT, reply or Reply(550, "5.1.1", "User unknown")), FAILURE, expired
    )


def deferred(to: QueuedRecipient | None = None) -> Deferred:
    result = Result(to or recipient(), Stage.RECIPIENT, Reply(451, "4.7.1", "Greylisted"))
    return Deferred(result, FAILURE, NOW + timedelta(minutes=5))


def delivered(to: QueuedRecipient) -> Delivered:
    return Delivered(Result(to, Stage.FINAL_DOT, Reply(250, "2.0.0", "ok")))


def attempt(
    *outcomes: Outcome,
    sender: str | None = "news@sender.example",
    waited: timedelta = timedelta(hours=5),
    delay_dsn_sent: bool = False,
    host: Host | None = Host("mx.example.com", "192.0.2.1"),  # noqa: B008
    dsn: bool = False,
    smtputf8: bool = False,
    ret: Return | None = None,
    envid: str | None = None,
) -> Attempt:
    delivery = Delivery(
        message_id=new_message_id(),
        destination="example.com",
        sender=Address.parse(sender) if sender else None,
        recipients=tuple(outcome.result.recipient for outcome in outcomes),
        account_id=1,
        queued_at=NOW - waited,
        expires_at=NOW + timedelta(days=4),
        size=len(CONTENT),
        smtputf8=smtputf8,
        ret=ret,
        envid=envid,
        delay_dsn_sent=delay_dsn_sent,
    )
    return Attempt(delivery, tuple(outcome.result for outcome in outcomes), NOW, 1.5, host, receiver_sends_dsn=dsn)


def told(*outcomes: Outcome, notices: str = "dsn", delay_after: float = 4 * 3600, **about: object) -> list[DsnKind]:
    made = attempt(*outcomes, **about)  # type: ignore[arg-type]
    return [part.kind for part in wanted(made, outcomes, notices, delay_after, NOW)]


def notice(
    *outcomes: Outcome,
    content: bytes | None = CONTENT,
    limit: int = 50_000,
    language: TextLanguage = TextLanguage.EN,
    **about: object,
) -> DsnMessage:
    made = attempt(*outcomes, **about)  # type: ignore[arg-type]
    kinds = {Failed: DsnKind.FAILED, Deferred: DsnKind.DELAYED, Delivered: DsnKind.RELAYED}
    return compose(
        made,
        [DsnRecipient(kinds[type(outcome)], outcome) for outcome in outcomes],
        dsn_words(language, UTC),
        reporter="mail.sender.example",
        dsn_id="notice",
        message_id="01message",
        content=content,
        limit=limit,
        now=NOW,
    )


def parts(made: DsnMessage) -> list[Message]:
    message = email.message_from_bytes(made.content)
    assert message.get_content_type() == "multipart/report"
    assert message.get_param("report-type") == "delivery-status"
    found = message.get_payload()
    assert isinstance(found, list)
    return [part for part in found if isinstance(part, Message)]


def groups(made: DsnMessage) -> list[dict[str, str]]:
    """The groups of fields of the machine-readable part, unfolded."""
    payload = parts(made)[1].get_payload()
    blocks = [part for part in payload if isinstance(part, Message)] if isinstance(payload, list) else []
    return [{name: " ".join(str(value).split()) for name, value in block.items()} for block in blocks]


# --- who is told


def test_failures_are_told_unless_asked_not_to() -> None:
    assert told(failed()) == [DsnKind.FAILED]
    assert told(failed(recipient(notify=Notify.FAILURE | Notify.DELAY))) == [DsnKind.FAILED]
    assert told(failed(recipient(notify=Notify.NEVER))) == []
    assert told(failed(recipient(notify=Notify.SUCCESS | Notify.DELAY))) == []


@pytest.mark.parametrize("notices", ["event", "none"])
def test_the_account_may_want_no_mail(notices: str) -> None:
    assert told(failed(recipient(notify=Notify.FAILURE)), deferred(), notices=notices) == []


def test_the_null_sender_is_never_told() -> None:
    assert told(failed(), deferred(), delivered(recipient(notify=Notify.SUCCESS)), sender=None) == []


def test_delays_are_told_once_and_in_time() -> None:
    assert told(deferred()) == [DsnKind.DELAYED]
    assert told(deferred(), waited=timedelta(hours=4)) == [DsnKind.DELAYED]
    assert told(deferred(), waited=timedelta(hours=3, minutes=59)) == []
    assert told(deferred(), delay_dsn_sent=True) == []
    assert told(deferred(), delay_after=0) == []
    assert told(deferred(recipient(notify=Notify.DELAY))) == [DsnKind.DELAYED]
    assert told(deferred(recipient(notify=Notify.FAILURE))) == []


def test_success_is_told_when_asked_and_nobody_else_will() -> None:
    asking = recipient(notify=Notify.SUCCESS)
    assert told(delivered(asking)) == [DsnKind.RELAYED]
    assert told(delivered(asking), dsn=True) == []
    assert told(delivered(recipient())) == []


def test_each_recipient_gets_their_own_decision() -> None:
    outcomes = (failed(recipient("a")), failed(recipient("b", Notify.NEVER)), delivered(recipient("c", Notify.SUCCESS)))
    assert told(*outcomes, deferred(recipient("d"))) == [DsnKind.FAILED, DsnKind.RELAYED, DsnKind.DELAYED]


# --- what is sent


def test_failure() -> None:
    made = notice(failed(recipient(orcpt="rfc822;Ann+2Bnews@example.com")), envid="QQ+2B1")
    message = email.message_from_bytes(made.content)
    assert message["To"] == "<news@sender.example>"
    assert message["From"] == "Mail Delivery System <MAILER-DAEMON@mail.sender.example>"
    assert message["Auto-Submitted"] == "auto-replied"
    assert message["Date"] == "Tue, 04 Mar 2025 05:06:07 +0000"
    assert groups(made) == [
        {
            "Reporting-MTA": "dns; mail.sender.example",
            "Original-Envelope-Id": "QQ+1",
            "Arrival-Date": "Tue, 04 Mar 2025 00:06:07 +0000",
        },
        {
            "Original-Recipient": "rfc822; Ann+news@example.com",
            "Final-Recipient": "rfc822; ann@example.com",
            "Action": "failed",
            "Status": "5.1.1",
            "Remote-MTA": "dns; mx.example.com",
            "Diagnostic-Code": "smtp; 550 5.1.1 User unknown",
            "Last-Attempt-Date": "Tue, 04 Mar 2025 05:06:07 +0000",
        },
    ]
    text, _, returned = parts(made)
    assert "<ann@example.com>" in str(text.get_payload())
    assert "mx.example.com said: 550 5.1.1 User unknown" in str(text.get_payload())
    assert returned.get_content_type() == "message/rfc822"
    assert made.content.count(CONTENT) == 1
    assert (made.body, made.smtputf8) == (Body.SEVEN_BIT, False)


def test_delay() -> None:
    made = notice(deferred())
    assert email.message_from_bytes(made.content)["Subject"] == "Delivery Status Notification (Delay)"
    assert groups(made)[1]["Action"] == "delayed"
    assert groups(made)[1]["Will-Retry-Until"] == "Sat, 08 Mar 2025 05:06:07 +0000"


def test_relayed() -> None:
    made = notice(delivered(recipient(notify=Notify.SUCCESS)))
    assert email.message_from_bytes(made.content)["Subject"] == "Delivery Status Notification (Relayed)"
    assert (groups(made)[1]["Action"], groups(made)[1]["Status"]) == ("relayed", "2.0.0")


@pytest.mark.parametrize(
    ("language", "said"),
    [
        (TextLanguage.DE, "mx.example.com meldet: 550"),
        (TextLanguage.FR, "Réponse de mx.example.com\xa0: 550"),
    ],
)
def test_people_read_their_language_and_programs_what_they_know(language: TextLanguage, said: str) -> None:
    made = notice(failed(), deferred(), language=language)
    text = parts(made)[0]
    assert made.body is Body.SEVEN_BIT
    assert text["Content-Language"] == language.value
    payload = text.get_payload(decode=True)
    assert isinstance(payload, bytes)
    assert said in payload.decode()
    assert email.message_from_bytes(made.content)["Subject"] == "Delivery Status Notification (Failure)"
    assert groups(made) == groups(notice(failed(), deferred()))


def test_failure_of_our_own() -> None:
    made = notice(failed(reply=Reply(550, "5.1.2", "the domain does not exist")), host=None)
    assert "Remote-MTA" not in groups(made)[1]
    assert groups(made)[1]["Diagnostic-Code"] == "x-imprimatur; 550 5.1.2 the domain does not exist"


def test_expired() -> None:
    made = notice(failed(reply=Reply(451, "4.7.1", "Greylisted"), expired=True))
    assert groups(made)[1]["Status"] == "4.7.1"
    assert "queued on 4 March 2025, 00:06 (UTC)" in " ".join(str(parts(made)[0].get_payload()).split())


@pytest.mark.parametrize(
    ("outcome", "ret", "limit", "kind"),
    [
        (failed(), None, 50_000, "message/rfc822"),
        (failed(), Return.FULL, 50_000, "message/rfc822"),
        (failed(), Return.HEADERS, 50_000, "text/rfc822-headers"),
        (failed(), Return.FULL, len(CONTENT) - 1, "text/rfc822-headers"),
        (deferred(), Return.FULL, 50_000, "text/rfc822-headers"),  # RFC 3461 6.2
    ],
)
def test_how_much_is_returned(outcome: Outcome, ret: Return | None, limit: int, kind: str) -> None:
    returned = parts(notice(outcome, ret=ret, limit=limit))[2]
    assert returned.get_content_type() == kind
    assert ("Body" in returned.as_string()) == (kind == "message/rfc822")


def test_headers_are_cut_between_fields() -> None:
    returned = parts(
        notice(failed(), ret=Return.HEADERS, limit=len(b"From: news@sender.example\r\nSubject: Hello\r\nX-Lo"))
    )
    assert str(returned[2].get_payload()).splitlines() == ["From: news@sender.example", "Subject: Hello"]
    assert len(parts(notice(failed(), limit=10))) == 2


def test_without_the_message() -> None:
    assert len(parts(notice(failed(), content=None))) == 2


def test_long_reply_is_folded_and_bounded() -> None:
    made = notice(failed(reply=Reply(550, "5.7.1", "word " * 300 + "x" * 5000)))
    assert max(len(line) for line in made.content.split(b"\r\n")) <= 998
    assert len(made.content) < 10_000


def test_internationalised() -> None:
    to = recipient("jürgen", orcpt=r"utf-8;j\x{FC}rgen@example.com")
    made = notice(failed(to), smtputf8=True, sender="zoë@sender.example", content="Subject: ü\r\n\r\nü\r\n".encode())
    assert (made.body, made.smtputf8) == (Body.EIGHT_BIT, True)
    text, _, returned = parts(made)
    assert text.get_param("charset") == "utf-8"
    assert b"Content-Type: message/global-delivery-status\r\n" in made.content
    assert b"Content-Type: message/global\r\n" in made.content
    assert "Final-Recipient: utf-8; jürgen@example.com\r\n".encode() in made.content
    assert "Original-Recipient: utf-8; jürgen@example.com\r\n".encode() in made.content
    assert "To: <zoë@sender.example>\r\n".encode() in made.content
    assert returned["Content-Transfer-Encoding"] == "8bit"


def test_internationalised_only_if_it_must_be() -> None:
    made = notice(failed(reply=Reply(550, "5.1.1", "Empfänger unbekannt")), smtputf8=True)
    assert made.smtputf8 is False
    assert groups(made)[1]["Diagnostic-Code"] == "smtp; 550 5.1.1 Empf?nger unbekannt"
    assert "Empfänger" in parts(made)[0].get_payload(decode=True).decode()  # type: ignore[union-attr]
    assert notice(failed(), smtputf8=True, content="Subject: ü\r\n\r\n".encode(), ret=Return.HEADERS).smtputf8 is True


def test_nobody_to_tell() -> None:
    with pytest.raises(ValueError, match="needs a sender"):
        notice(failed(), sender=None)
    with pytest.raises(ValueError, match="at least one recipient"):
        notice()


ODD = st.text(st.characters(codec=None), max_size=80)


@given(words=ODD, host=ODD, envid=ODD, orcpt=ODD, content=st.binary(max_size=200), utf8=st.booleans())
def test_nobody_writes_our_fields(words: str, host: str, envid: str, orcpt: str, content: bytes, utf8: bool) -> None:
    """Whatever a receiver, a client or the message holds, the notice has the fields that we wrote, and no others."""
    made = notice(
        failed(recipient(orcpt=f"rfc822;{orcpt}"), Reply.parse(550, words)),
        host=Host(host, "192.0.2.1"),
        envid=envid,
        content=content,
        smtputf8=utf8,
    )
    fields = [name for name, _ in Headers.split(made.content).fields]
    assert fields == [
        b"from",
        b"to",
        b"subject",
        b"date",
        b"message-id",
        b"auto-submitted",
        b"mime-version",
        b"content-type",
    ]
    boundary = email.message_from_bytes(made.content).get_boundary()
    status = made.content.split(f"--{boundary}\r\n".encode())[2].partition(b"\r\n\r\n")[2]
    names = {line.partition(b":")[0] for line in status.split(b"\r\n") if line and not line.startswith((b" ", b"--"))}
    allowed = {b"Reporting-MTA", b"Original-Envelope-Id", b"Arrival-Date", b"Original-Recipient", b"Final-Recipient"}
    allowed |= {b"Action", b"Status", b"Remote-MTA", b"Diagnostic-Code", b"Last-Attempt-Date"}
    assert names <= allowed
    assert made.smtputf8 <= utf8

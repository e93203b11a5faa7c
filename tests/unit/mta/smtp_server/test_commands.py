"""Paths and parameters of MAIL and RCPT, octet by octet: RFC 5321 4.1.2, 1870, 3461, 6152, 6531."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mta.mail.address import Address
from mta.mail.message import Body, Envelope, Notify, Recipient, Return, SenderTls
from mta.smtp_server.commands import parse_line, read_chunk, read_hello, read_mail, read_recipient
from mta.smtp_server.replies import Rejected


def mail(argument: str) -> Envelope:
    return read_mail(argument, extended=True, max_size=1000)[0]


def rcpt(argument: str, *, utf8: bool = False) -> Recipient:
    return read_recipient(argument, extended=True, utf8=utf8)


def refused(read: object, *arguments: object, **options: object) -> str:
    with pytest.raises(Rejected) as raised:
        read(*arguments, **options)  # type: ignore[operator]
    return str(raised.value.reply)


@pytest.mark.parametrize(
    ("argument", "address"),
    [
        ("TO:<ann@customer.example>", "ann@customer.example"),
        ("to:<ann@customer.example>", "ann@customer.example"),
        ("TO: <ann@customer.example>", "ann@customer.example"),  # many applications do so
        ("TO:<Ann.B+c@Customer.EXAMPLE>", "Ann.B+c@customer.example"),
        ('TO:<"ann"@customer.example>', "ann@customer.example"),
        ('TO:<"a..b"@customer.example>', '"a..b"@customer.example'),
        ('TO:<"a@b\\"c"@customer.example>', '"a@b\\"c"@customer.example'),
        ("TO:<" + "x" * 64 + "@customer.example>", "x" * 64 + "@customer.example"),
    ],
)
def test_paths(argument: str, address: str) -> None:
    assert str(rcpt(argument).address) == address


@pytest.mark.parametrize(
    "argument",
    [
        'TO:<"a b"@customer.example>',
        'TO:<"a> NOTIFY=NEVER"@customer.example>',
        "TO:ann@customer.example",
        "TO:<ann@customer.example",
        "TO:ann@customer.example>",
        "TO:<ann@customer.example>junk",
        "TO:<ann@customer.example>\tNOTIFY=NEVER",
        "TO:<ann@customer.example> <bob@customer.example>",
        "TO:",
        "TO",
        "",
        "FROM:<ann@customer.example>",
        "<ann@customer.example>",
        'TO:<"ann@customer.example>',
        'TO:<"ann"@customer.example> "x',
        "TO:Ann <ann@customer.example>",
        "TO:<>",
        "TO:<ann>",
        "TO:<@customer.example>",
        "TO:<ann@>",
        "TO:<@a.example,@b.example:ann@customer.example>",
        "TO:<ann(comment)@customer.example>",
        "TO:<ann@customer..example>",
        "TO:<ann@customer_x.example>",
        "TO:<ann@localhost>",
        "TO:<ann@[127.0.0.1]>",
        "TO:<ann@127.0.0.1>",
        "TO:<.ann@customer.example>",
        "TO:<ann bob@customer.example>",
        "TO:<ann@customer.example,bob@customer.example>",
        "TO:<ann\tb@customer.example>",
        "TO:<" + "x" * 65 + "@customer.example>",
        "TO:<ann@" + "x." * 130 + "example>",
    ],
)
def test_what_is_no_path(argument: str) -> None:
    """S5, S7, S8: nothing that two parsers could read in two ways."""
    assert refused(rcpt, argument).startswith("501 5.")


def test_a_bare_postmaster_is_unknown() -> None:
    assert refused(rcpt, "TO:<Postmaster>") == (
        "550 5.1.1 User unknown: no local mailboxes, give the postmaster's full address"
    )


def test_the_null_sender_is_a_sender() -> None:
    assert mail("FROM:<>").sender is None
    assert mail("FROM:<> RET=FULL").ret is Return.FULL


def test_addresses_outside_ascii_need_smtputf8() -> None:
    assert refused(mail, "FROM:<ünï@shop.example>").startswith("553 5.6.7 ")
    assert refused(rcpt, "TO:<ann@münchen.example>").startswith("553 5.6.7 ")
    assert mail("FROM:<ünï@shop.example> SMTPUTF8").sender == Address("ünï", "shop.example")
    assert rcpt("TO:<ann@münchen.example>", utf8=True).address.domain == "xn--mnchen-3ya.example"


@pytest.mark.parametrize(
    ("parameters", "envelope"),
    [
        ("BODY=7BIT", Envelope(None, (), Body.SEVEN_BIT)),
        ("body=8bitmime", Envelope(None, (), Body.EIGHT_BIT)),
        ("RET=HDRS ENVID=QQ314159", Envelope(None, (), ret=Return.HEADERS, envid="QQ314159")),
        ("ENVID=a+2Bb+20c", Envelope(None, (), envid="a+2Bb+20c")),
        ("AUTH=<>", Envelope(None, ())),
        ("AUTH=e+3Dmc2@example.com", Envelope(None, ())),
        ("SMTPUTF8  SIZE=10", Envelope(None, (), smtputf8=True)),
        ("requiretls", Envelope(None, (), tls=SenderTls.REQUIRED)),
    ],
)
def test_parameters_of_mail(parameters: str, envelope: Envelope) -> None:
    assert mail(f"FROM:<> {parameters}") == envelope


@pytest.mark.parametrize(
    ("parameters", "reply"),
    [
        ("SIZE", "501 5.5.4 Syntax error in parameter SIZE: must be a number of octets"),
        ("SIZE=ten", "501 5.5.4 Syntax error in parameter SIZE: must be a number of octets"),
        ("SIZE=-1", "501 5.5.4 Syntax error in parameter SIZE: must be a number of octets"),
        ("SIZE=²", "501 5.5.4 Syntax error in parameter SIZE: must be a number of octets"),
        ("SIZE=" + "9" * 21, "501 5.5.4 Syntax error in parameter SIZE: must be a number of octets"),
        ("SIZE=1001", "552 5.3.4 Message size exceeds fixed limit of 1000 octets"),
        ("SIZE=10 size=11", "501 5.5.4 Syntax error in parameter SIZE: given twice"),
        ("BODY=BINARYMIME", "501 5.5.4 Syntax error in parameter BODY: must be one of 7BIT, 8BITMIME"),
        ("BODY", "501 5.5.4 Syntax error in parameter BODY: must be one of 7BIT, 8BITMIME"),
        ("RET=ALL", "501 5.5.4 Syntax error in parameter RET: must be one of FULL, HDRS"),
        ("REQUIRETLS=yes", "501 5.5.4 Syntax error in parameter REQUIRETLS: takes no value"),
        ("SMTPUTF8=yes", "501 5.5.4 Syntax error in parameter SMTPUTF8: takes no value"),
        ("ENVID=", "501 5.5.4 Syntax error in parameter ENVID=: use KEYWORD or KEYWORD=value"),
        ("ENVID", "501 5.5.4 Syntax error in parameter ENVID: must be xtext of at most 100 characters"),
        ("ENVID=" + "x" * 101, "501 5.5.4 Syntax error in parameter ENVID: must be xtext of at most 100 characters"),
        ("ENVID=a+b", "501 5.5.4 Syntax error in parameter ENVID: must be xtext of at most 100 characters"),
        ("ENVID=a+2b", "501 5.5.4 Syntax error in parameter ENVID: must be xtext of at most 100 characters"),
        (
            "ENVID=a+0D+0ABcc:x",
            "501 5.5.4 Syntax error in parameter ENVID: contains an unprintable character",
        ),
        ("FOO", "555 5.5.4 Unsupported option: FOO"),
        ("NOTIFY=NEVER", "555 5.5.4 Unsupported option: NOTIFY"),
        ("MT-PRIORITY=3", "555 5.5.4 Unsupported option: MT-PRIORITY"),
        ("-X=1", "501 5.5.4 Syntax error in parameter -X=1: use KEYWORD or KEYWORD=value"),
        ("A=b=c", "501 5.5.4 Syntax error in parameter A=b=c: use KEYWORD or KEYWORD=value"),
    ],
)
def test_wrong_parameters_of_mail(parameters: str, reply: str) -> None:
    assert refused(mail, f"FROM:<> {parameters}") == reply


@pytest.mark.parametrize(
    ("parameters", "notify", "orcpt"),
    [
        ("NOTIFY=NEVER", Notify.NEVER, None),
        ("notify=success,Delay,FAILURE", Notify.SUCCESS | Notify.DELAY | Notify.FAILURE, None),
        ("ORCPT=rfc822;Ann+40Home@X.example", None, "rfc822;Ann+40Home@X.example"),
        ("ORCPT=RFC822;a NOTIFY=FAILURE", Notify.FAILURE, "RFC822;a"),
    ],
)
def test_parameters_of_rcpt(parameters: str, notify: Notify | None, orcpt: str | None) -> None:
    recipient = rcpt(f"TO:<a@b.example> {parameters}")
    assert (recipient.notify, recipient.orcpt) == (notify, orcpt)


BAD_ORCPT = "501 5.5.4 Syntax error in parameter ORCPT: "


def test_an_orcpt_outside_ascii_needs_smtputf8_and_its_type() -> None:
    argument = "TO:<a@b.example> ORCPT=utf-8;ünï@b.example"
    assert rcpt(argument, utf8=True).orcpt == "utf-8;ünï@b.example"
    assert refused(rcpt, argument).startswith(BAD_ORCPT)
    assert refused(rcpt, argument.replace("utf-8", "rfc822"), utf8=True).startswith(
        "501 5.5.4 Syntax error in parameter ORCPT: "
    )
    assert refused(rcpt, argument.replace("ï", "\u2028"), utf8=True).startswith(
        "501 5.5.4 Syntax error in parameter ORCPT: "
    )


@pytest.mark.parametrize(
    "parameters",
    [
        *("NOTIFY", "NOTIFY=", "NOTIFY=NEVER,DELAY", "NOTIFY=SUCCESS,SUCCESS", "NOTIFY=SOMETIMES", "NOTIFY=SUCCESS,"),
        *("ORCPT=ann", "ORCPT=;ann", "ORCPT=rfc822;", "ORCPT=rfc 822;x", "ORCPT=rfc822;a+0Ab", "ORCPT=rfc822;a+b"),
        "ORCPT=rfc822;" + "x" * 501,
        "NOTIFY=NEVER NOTIFY=NEVER",
        "ORCPT=rfc822;a ORCPT=rfc822;b",
    ],
)
def test_wrong_parameters_of_rcpt(parameters: str) -> None:
    assert refused(rcpt, f"TO:<a@b.example> {parameters}").startswith(("501 5.5.4", "555 5.5.4"))


def test_unknown_parameters_of_rcpt() -> None:
    assert refused(rcpt, "TO:<a@b.example> SIZE=1") == "555 5.5.4 Unsupported option: SIZE"


@pytest.mark.parametrize(
    ("argument", "chunk"), [("10", (10, False)), ("0 LAST", (0, True)), ("5  last", (5, True)), ("05", (5, False))]
)
def test_chunks(argument: str, chunk: tuple[int, bool]) -> None:
    assert read_chunk(argument) == chunk


@pytest.mark.parametrize("argument", ["", "LAST", "-1", "5 FIRST", "5 LAST x", "5LAST", "٥", "9" * 20])
def test_wrong_chunks(argument: str) -> None:
    assert refused(read_chunk, argument).startswith("501 5.5.4")


@pytest.mark.parametrize("name", ["app.example.com", "[192.0.2.1]", "[IPv6:2001:db8::1]", "my_host", "a'b", "x" * 255])
def test_names_of_clients(name: str) -> None:
    assert read_hello(name) == name


@pytest.mark.parametrize(
    "name", ["", "a b", "a(b", "a)b", "a<b>", "a;b", "a,b", 'a"b', "a\\b", "a@b", "ä", "a\x7f", "x" * 256]
)
def test_names_that_would_spoil_a_received_field(name: str) -> None:
    assert refused(read_hello, name).startswith("501 5.5.4")


def test_verbs_are_named_in_any_case_and_blanks_at_the_end_are_nothing() -> None:
    assert parse_line(b"mail from:<a@b.example> \t") == ("MAIL", "from:<a@b.example>")
    assert parse_line(b"QUIT") == ("QUIT", "")


@given(st.binary(max_size=300))
def test_any_line_is_read_or_refused(line: bytes) -> None:
    for read in (mail, rcpt, read_chunk):
        code = 0
        try:
            _, argument = parse_line(b"RCPT " + line)
            read(argument)  # type: ignore[operator]
        except Rejected as refusal:
            code = refusal.reply.code
        assert code == 0 or 500 <= code <= 599


@given(st.text(st.characters(codec="utf-8", exclude_categories=("Cs",)), max_size=60))
def test_what_is_read_can_be_said_again(text: str) -> None:
    """Whatever a path or parameter lets through holds neither CR, LF, NUL nor an unquoted angle bracket."""
    try:
        recipient = rcpt(f"TO:<{text}> ORCPT=rfc822;{text}", utf8=True)
    except Rejected:
        return
    said = f"{recipient.address}{recipient.orcpt}"
    assert not set(said) & set("\r\n\0")
    assert rcpt(f"TO:<{recipient.address}>", utf8=True).address == recipient.address

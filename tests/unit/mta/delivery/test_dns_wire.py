"""DNS messages are read as dnspython reads them; what is no answer to the question is none."""

from __future__ import annotations

from itertools import pairwise

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mta.delivery.dns_wire import Answer, Question, read

QUESTION = Question.of("Example.COM", "MX")
QUERY = QUESTION.query(edns=True, secure=True)
LABEL = st.text("ab-_9", min_size=1, max_size=63)
NAME = st.lists(LABEL, min_size=1, max_size=3).map(lambda labels: ".".join(labels) + ".")
TTL = st.integers(0, 2**31 - 1)


def response(*answers: str, code: int = dns.rcode.NOERROR, authority: tuple[str, ...] = ()) -> dns.message.QueryMessage:
    """Return a response to QUERY with these records, as in a zone file."""
    made = dns.message.make_response(dns.message.from_wire(QUERY))
    assert isinstance(made, dns.message.QueryMessage)
    made.set_rcode(code)
    for section, lines in ((made.answer, answers), (made.authority, authority)):
        for line in lines:
            name, ttl, kind, data = line.split(" ", 3)
            section.append(dns.rrset.from_text(name, int(ttl), "IN", kind, data))
    return made


def answer_of(message: dns.message.Message) -> Answer:
    found = read(message.to_wire(), QUERY, QUESTION)
    assert found is not None
    return found


def test_a_query_is_what_dnspython_would_ask() -> None:
    ours = dns.message.from_wire(QUERY)
    theirs = dns.message.make_query("example.com", "MX", use_edns=0, payload=1232, id=ours.id)
    theirs.flags |= dns.flags.AD
    assert ours.to_wire() == theirs.to_wire() == QUERY
    plain = QUESTION.query(edns=False, secure=False)
    assert dns.message.from_wire(plain).edns == -1
    assert plain[2:] == dns.message.make_query("example.com", "MX", id=0).to_wire()[2:]


def test_what_was_cut_is_known_to_be_wherever_it_ends() -> None:
    full = response("example.com. 60 MX 10 mx.example.com.", "example.com. 60 MX 20 mx2.example.com.")
    full.flags |= dns.flags.TC
    wire = full.to_wire()
    for end in range(len(QUERY) - 11, len(wire) + 1):
        found = read(wire[:end], QUERY, QUESTION)
        assert found is not None
        assert (found.is_truncated, found.data) == (True, ())


def test_numbers_are_not_to_be_guessed() -> None:
    assert len({QUESTION.query(edns=False, secure=False)[:2] for _ in range(200)}) > 150


@given(st.lists(st.tuples(st.integers(0, 65535), NAME), max_size=4), st.lists(NAME, max_size=4, unique=True), TTL, TTL)
def test_records_at_the_end_of_aliases(hosts: list[tuple[int, str]], aliases: list[str], ttl: int, other: int) -> None:
    names = ["example.com.", *(name for name in aliases if name != "example.com.")]
    chain = [f"{name} {other} CNAME {target}" for name, target in pairwise(names)]
    message = response(*chain, *(f"{names[-1]} {ttl} MX {number} {host}" for number, host in hosts))
    theirs, found = dns.message.from_wire(message.to_wire()), answer_of(message)
    assert isinstance(theirs, dns.message.QueryMessage)
    expected = theirs.resolve_chaining()
    assert list(dict.fromkeys(found.data)) == list(expected.answer or ())
    assert found.owner == expected.canonical_name.to_text(omit_final_dot=True)
    assert found.aliases == len(expected.cnames)
    if hosts:
        assert found.ttl == expected.minimum_ttl


def test_that_there_is_nothing_holds_as_the_soa_says() -> None:
    soa = "com. {} SOA ns.example. root.example. 1 3600 600 86400 {}"
    for ttl, minimum in ((300, 60), (60, 300)):
        for code in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
            found = answer_of(response(code=code, authority=(soa.format(ttl, minimum),)))
            assert (found.ttl, found.code, list(found.data)) == (60, code, [])
            assert dns.rdatatype.SOA in found.authority


def test_codes_beyond_15() -> None:
    assert answer_of(response(code=dns.rcode.BADVERS)).code == dns.rcode.BADVERS


def test_what_is_no_answer_to_the_question() -> None:
    wire = response("example.com. 300 MX 10 mx1.example.com.").to_wire()
    other = bytes([wire[0] ^ 1]) + wire[1:]
    elsewhere = dns.message.make_response(
        dns.message.make_query("example.org", "MX", id=int.from_bytes(wire[:2], "big"))
    )
    of_another_type = dns.message.make_response(
        dns.message.make_query("example.com", "A", id=int.from_bytes(wire[:2], "big"))
    )
    notify = wire[:2] + bytes([wire[2] | 0x20]) + wire[3:]
    without_question = wire[:4] + b"\0\0" + wire[6:12]
    for wrong in (
        b"",
        wire[:11],
        QUERY,
        other,
        notify,
        elsewhere.to_wire(),
        of_another_type.to_wire(),
        without_question,
    ):
        assert read(wrong, QUERY, QUESTION) is None


def test_spelling_of_the_question_does_not_matter() -> None:
    wire = response("example.com. 300 MX 10 mx1.example.com.").to_wire()
    assert read(wire.replace(b"example", b"eXamPle", 1), QUERY, QUESTION) is not None


def test_a_failure_need_not_repeat_the_question() -> None:
    for code in (dns.rcode.FORMERR, dns.rcode.SERVFAIL, dns.rcode.NOTIMP, dns.rcode.REFUSED):
        curt = QUERY[:2] + bytes([0x80, code]) + bytes(8)
        found = read(curt, QUERY, QUESTION)
        assert found is not None
        assert found.code == code


def test_contradictions_are_errors() -> None:
    record = "example.com. 300 MX 10 mx1.example.com."
    with pytest.raises(dns.exception.DNSException):
        answer_of(response(record, code=dns.rcode.NXDOMAIN))
    with pytest.raises(dns.exception.DNSException):
        answer_of(response("example.com. 300 CNAME example.com."))
    for bad in (response(record).to_wire() + b"\0", response(record).to_wire()[:-1]):
        with pytest.raises(dns.exception.DNSException):
            read(bad, QUERY, QUESTION)


@pytest.mark.parametrize("name", [b"\xc0\x1d", b"\xc0\xff", b"\xff\xff", b"\x80x", (b"\x3f" + b"x" * 63) * 4 + b"\0"])
def test_names_that_are_none(name: bytes) -> None:
    """Pointers to themselves and forward, unknown label types, more than 255 octets."""
    head = response().to_wire()[: 12 + len(QUESTION.wire)]
    assert len(head) == 0x1D
    record = name + b"\0\x0f\0\x01\0\0\0\x05\0\x04\0\x0a\xc0\x0c"
    with pytest.raises(dns.exception.DNSException):
        read(head[:6] + b"\0\x01" + bytes(4) + head[12:] + record, QUERY, QUESTION)


def is_read_or_refused(wire: bytes) -> bool:
    """Return whether octets are read as far as they go, or are an error of DNS, and no other."""
    try:
        found = read(wire, QUERY, QUESTION)
    except dns.exception.DNSException:
        return True
    return found is None or all(each.rdtype == QUESTION.kind for each in found.data)


@given(st.data())
def test_octets_changed_on_the_way_are_an_error_at_most(data: st.DataObject) -> None:
    wire = bytearray(response("example.com. 9 CNAME a.example.", "a.example. 300 MX 10 mx1.a.example.").to_wire())
    for place in data.draw(st.lists(st.integers(2, len(wire) - 1), max_size=4)):
        wire[place] = data.draw(st.integers(0, 255))
    assert is_read_or_refused(bytes(wire[: data.draw(st.integers(0, len(wire)))]))


@given(st.binary(max_size=80))
def test_any_octets(noise: bytes) -> None:
    assert is_read_or_refused(QUERY[:2] + b"\x80\0\0\x01" + noise[:6] + QUESTION.wire + noise[6:])

"""What was made of a body is found again for the same octets alone."""

from __future__ import annotations

from mta.mail.known_bodies import ENDS, KnownBodies

BODY = b"Dear reader,\r\n" + b"." * 200 + b"\r\nBye\r\n"


def test_kept_when_it_comes_again() -> None:
    known: KnownBodies[str] = KnownBodies(1000)
    known.keep("first", BODY)
    assert known.find(BODY) is None
    known.keep("again", bytes(bytearray(BODY)))
    assert known.find(bytes(bytearray(BODY))) == "again"


def test_same_ends_are_not_the_same_body() -> None:
    middle = BODY[:100] + b"," + BODY[101:]
    assert (middle[:ENDS], middle[-ENDS:]) == (BODY[:ENDS], BODY[-ENDS:])
    known: KnownBodies[str] = KnownBodies(1000)
    known.keep("", BODY)
    known.keep("kept", BODY)
    assert known.find(middle) is None
    known.keep("other", middle)
    assert known.find(middle) is None, "it came once"
    assert known.find(BODY) is None, "of the same length and ends only the last is known"


def test_made_of_something_else_too() -> None:
    known: KnownBodies[str] = KnownBodies(1000)
    for _ in range(2):
        known.keep("text", BODY, b"Content-Type: text/plain")
        known.keep("page", BODY, b"Content-Type: text/html")
    assert known.find(BODY, b"Content-Type: text/html") == "page"
    assert known.find(BODY, b"Content-Type: text/plain") == "text"
    assert known.find(BODY) is None


def test_bounded_by_octets() -> None:
    known: KnownBodies[int] = KnownBodies(1000)
    for n in range(50):
        for _ in range(2):
            known.keep(n, b"%300d" % n)
    assert known.octets == 900
    assert [known.find(b"%300d" % n) for n in (0, 46, 47, 48, 49)] == [None, None, 47, 48, 49]
    known.keep(1, b"x" * 1001)
    assert known.octets == 900

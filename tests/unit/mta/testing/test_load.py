"""What a load says and how it is counted."""

import pytest

from mta.testing.load import Latencies, Load, LoadResult, dot_stuffed


def test_made_messages_have_their_size_and_recipients() -> None:
    load = Load("ann@a.example", size=50_000, recipients=3, domains=2, run="x")
    envelope = load.envelope(1)
    assert envelope == ["user3@d1.example", "user4@d0.example", "user5@d1.example"]
    content = load.content(7, envelope, "Mon, 1 Jun 2026 00:00:00 +0000")
    assert 49_800 < len(content) <= 50_100
    assert content.endswith(b"\r\n.\r\n")
    assert b"Message-ID: <load.7.x@a.example>\r\n" in content


def test_named_recipients_take_turns() -> None:
    load = Load("ann@a.example", to=("b@b.example", "c@c.example", "d@d.example"), recipients=2)
    assert [load.envelope(n) for n in range(2)] == [["b@b.example", "c@c.example"], ["d@d.example", "b@b.example"]]


def test_files_are_sent_as_they_are_below_the_added_fields() -> None:
    load = Load("", messages=(b"A: 1\n\n.x\n", b"B: 2\r\n\r\ny"), fields=("X-Y: z",))
    assert load.content(0, [], "") == b"X-Y: z\r\nA: 1\r\n\r\n..x\r\n.\r\n"
    assert load.content(3, [], "") == b"X-Y: z\r\nB: 2\r\n\r\ny\r\n.\r\n"


@pytest.mark.parametrize("content", [b"", b"\r\n", b"a", b".\r\n", b"a\r\n.\r\nb\r\n", b"a\rb\nc"])
def test_no_content_ends_a_message_early(content: bytes) -> None:
    wire = dot_stuffed(content)
    assert (b"\r\n" + wire).count(b"\r\n.\r\n") == 1
    assert b"\n" not in wire.replace(b"\r\n", b"")


def test_percentiles_are_right_within_two_per_cent() -> None:
    latencies = Latencies()
    for n in range(1, 1001):
        latencies.add(n / 1000)
    for share in (0.5, 0.9, 0.99, 0.999):
        assert latencies.percentile(share) == pytest.approx(share, rel=0.021)
    assert latencies.percentile(1.0) == latencies.longest == 1.0
    assert Latencies().percentile(0.5) == 0.0


def test_replies_that_differ_in_ids_only_are_one_kind() -> None:
    result = LoadResult()
    for n in range(3):
        result.note(f"250 2.0.0 OK: queued as 01m8mr24w2fk7smgq1g8n891t{n}")
    result.note("550 5.1.1 <ann@example.com>: no")
    result.note("550 5.1.1 <ben@example.com>: no")
    result.note("550 5.7.1 <ben@example.com>: no")
    assert list(result.kinds()) == [
        ("250 2.0.0 OK: queued as 01m8mr24w2fk7smgq1g8n891t0", 3),
        ("550 5.1.1 <ann@example.com>: no", 2),
        ("550 5.7.1 <ben@example.com>: no", 1),
    ]


def test_the_kinds_of_replies_are_bounded() -> None:
    result = LoadResult()
    for n in range(1000):
        result.note(f"{n + 1000:04} {'x' * (n + 1)}")
    assert len(result.replies) <= 51
    assert sum(times for _, times in result.kinds()) == 1000

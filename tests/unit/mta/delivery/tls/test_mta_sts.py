"""MTA-STS records and policies, as RFC 8461 has them and as they are met."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mta.delivery.tls.mta_sts import MAX_AGE, StsError, StsMode, StsPolicy, parse_policy, record_id
from mta.delivery.tls.tag_record import RecordError

POLICY = b"version: STSv1\r\nmode: enforce\r\nmx: mail.example.com\r\nmx: *.example.net\r\nmax_age: 604800\r\n"


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (["v=STSv1; id=20160831085700Z;"], "20160831085700Z"),
        (["v=STSv1;id=1"], "1"),
        (["v=STSv1 ; id=1 ; ext=some/value ;"], "1"),
        (["v=spf1 -all", "v=STSv1; id=a2; "], "a2"),
        (["v=spf1 -all"], None),
        (["v=STSv1"], None),  # without a delimiter it is none of ours (3.1)
        (["V=STSv1; id=1;"], None),
        ([], None),
    ],
)
def test_the_id_of_a_record(texts: list[str], expected: str | None) -> None:
    assert record_id(texts) == expected


@pytest.mark.parametrize(
    ("texts", "why"),
    [
        (["v=STSv1; id=1;", "v=STSv1; id=2;"], "2 records"),
        (["v=STSv1;"], "no id"),
        (["v=STSv1; id=;"], "invalid id"),
        (["v=STSv1; id=1-2;"], "invalid id"),
        (["v=STSv1; id=" + "1" * 33], "invalid id"),
        (["v=STSv1; id=1; id=2"], "several ids"),
        (["v=STSv1; id=1;; x=1"], "invalid field"),
        (["v=STSv1; id=1; x"], "invalid field"),
        (["v=STSv1; id=1; x=a b"], "invalid field"),
    ],
)
def test_an_invalid_record_says_why(texts: list[str], why: str) -> None:
    with pytest.raises(RecordError, match=why):
        record_id(texts)


def test_a_policy() -> None:
    policy = parse_policy(POLICY)
    assert policy == StsPolicy(StsMode.ENFORCE, ("mail.example.com", "*.example.net"), 604800)
    assert policy.lines == (
        "version: STSv1", "mode: enforce", "mx: mail.example.com", "mx: *.example.net", "max_age: 604800",
    )  # fmt: skip


@pytest.mark.parametrize(
    "content",
    [
        POLICY.replace(b"\r\n", b"\n"),
        POLICY.removesuffix(b"\r\n"),
        POLICY.replace(b": ", b":"),
        POLICY.replace(b"mail.example.com", b"Mail.Example.COM"),
        POLICY + b"mode: none\r\n",  # the first one counts (3.2)
        POLICY + b"other-field: \xc3\xa4 value\r\n",
        POLICY.replace(b"max_age: 604800\r\n", b"max_age:   604800  \r\n"),
    ],
)
def test_ways_to_write_the_same_policy(content: bytes) -> None:
    assert parse_policy(content) == parse_policy(POLICY)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "version"),
        (b"<html></html>", "key: value"),
        (POLICY.replace(b"STSv1", b"STSv2"), "version is 'STSv2'"),
        (POLICY.replace(b"version: STSv1\r\n", b""), "version is 'missing'"),
        (POLICY.replace(b"enforce", b"Enforce"), "mode is 'Enforce'"),
        (POLICY.replace(b"mode: enforce\r\n", b""), "mode is None"),
        (POLICY.replace(b"604800", b"-1"), "max_age"),
        (POLICY.replace(b"604800", b"%d" % (MAX_AGE + 1)), "max_age"),
        (POLICY.replace(b"max_age: 604800\r\n", b""), "max_age is None"),
        (POLICY.replace(b"mx: mail.example.com\r\nmx: *.example.net\r\n", b""), "without mx"),
        (POLICY.replace(b"*.example.net", b"*example.net"), "line 4: mx"),
        (POLICY.replace(b"*.example.net", b"*.*.example.net"), "line 4: mx"),
        (POLICY.replace(b"*.example.net", b"a..example.net"), "line 4: mx"),
        (POLICY.replace(b"*.example.net", b"192.0.2.1/24"), "line 4: mx"),
        (POLICY + b"\r\n", "line 6"),
        (POLICY.replace(b"mail", b"m\xffil"), "UTF-8"),
    ],
)
def test_an_invalid_policy_says_why(content: bytes, why: str) -> None:
    with pytest.raises(StsError, match=why):
        parse_policy(content)


def test_no_mail_hosts_are_needed_for_no_policy() -> None:
    assert parse_policy(b"version: STSv1\nmode: none\nmax_age: 0\n") == StsPolicy(StsMode.NONE, (), 0)


@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        ("mail.example.com", True),
        ("mx1.example.net", True),
        ("a.mx1.example.net", False),  # one label only (4.1)
        ("example.net", False),
        ("mail.example.com.evil.example", False),
        ("xmail.example.com", False),
    ],
)
def test_which_hosts_a_policy_allows(host: str, allowed: bool) -> None:
    assert parse_policy(POLICY).allows(host) is allowed


@given(st.binary(max_size=300))
def test_what_is_no_line_of_a_policy_makes_it_invalid(content: bytes) -> None:
    with pytest.raises(StsError):
        parse_policy(POLICY + b"\x00" + content)

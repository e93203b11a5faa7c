"""Where a domain wants TLS reports, and what they say (RFC 8460)."""

from __future__ import annotations

import gzip
from collections import Counter
from datetime import date

import orjson
import pytest

from mta.delivery.tls.report import ReportPlaces, TlsReport, report_places
from mta.delivery.tls.session_counts import SessionCounts
from mta.delivery.tls.tag_record import RecordError
from mta.mail.address import Address
from mta.mail.tls_session import (
    MAX_FAILURES,
    AppliedPolicy,
    PolicyKind,
    SessionCount,
    SessionFailure,
    TlsResult,
)

POLICY = AppliedPolicy(PolicyKind.STS, "example.com", ("version: STSv1", "mode: testing"), ("*.example.com",))


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        ([], None),
        (["v=spf1 -all"], None),
        (["v=TLSRPTv1;rua=mailto:tls@example.com"], ReportPlaces((), (Address.parse("tls@example.com"),))),
        (
            ["v=TLSRPTv1; rua=https://example.com/v1/tlsrpt , mailto:a%2Bb@example.com; ext=1;"],
            ReportPlaces(("https://example.com/v1/tlsrpt",), (Address.parse("a+b@example.com"),)),
        ),
        (  # a second one is of no use, whatever it looks like
            ["v=TLSRPTv1; rua=mailto:tls@example.com; rua=https://example.com/?a=b"],
            ReportPlaces((), (Address.parse("tls@example.com"),)),
        ),
    ],
)
def test_where_reports_go(texts: list[str], expected: ReportPlaces | None) -> None:
    assert report_places(texts) == expected


@pytest.mark.parametrize(
    ("texts", "why"),
    [
        (["v=TLSRPTv1; rua=mailto:a@b.example", "v=TLSRPTv1; rua=mailto:a@b.example"], "2 records"),
        (["v=TLSRPTv1;"], "no rua"),
        (["v=TLSRPTv1; rua="], "neither"),
        (["v=TLSRPTv1; rua=http://example.com/"], "neither"),
        (["v=TLSRPTv1; rua=https:///x"], "no host"),
        (["v=TLSRPTv1; rua=mailto:not an address"], "neither"),
        (["v=TLSRPTv1; rua=mailto:nobody"], "nobody"),
        (["v=TLSRPTv1; rua=mailto:a@b.example; x y"], "invalid field"),
    ],
)
def test_an_invalid_record_says_why(texts: list[str], why: str) -> None:
    with pytest.raises(RecordError, match=why):
        report_places(texts)


def test_a_report_as_the_rfc_has_it() -> None:
    failure = SessionFailure(TlsResult.CERTIFICATE_EXPIRED, "192.0.2.1", "mx1.example.com", "198.51.100.1", "expired")
    fetch = SessionFailure(TlsResult.STS_POLICY_FETCH_ERROR, reason="HTTP status 404")
    day = date(2026, 4, 1)
    counts = [SessionCount(day, "example.com", POLICY, 5326, 304, Counter({failure: 303, fetch: 1}))]
    report = TlsReport("example.com", day, counts, "Sender Ltd", "postmaster@sender.example", "1@sender.example")
    assert orjson.loads(gzip.decompress(report.compressed())) == {
        "organization-name": "Sender Ltd",
        "date-range": {"start-datetime": "2026-04-01T00:00:00Z", "end-datetime": "2026-04-01T23:59:59Z"},
        "contact-info": "postmaster@sender.example",
        "report-id": "1@sender.example",
        "policies": [
            {
                "policy": {
                    "policy-type": "sts",
                    "policy-string": ["version: STSv1", "mode: testing"],
                    "policy-domain": "example.com",
                    "mx-host": ["*.example.com"],
                },
                "summary": {"total-successful-session-count": 5326, "total-failure-session-count": 304},
                "failure-details": [
                    {
                        "result-type": "certificate-expired",
                        "sending-mta-ip": "192.0.2.1",
                        "receiving-mx-hostname": "mx1.example.com",
                        "receiving-ip": "198.51.100.1",
                        "failed-session-count": 303,
                        "failure-reason-code": "expired",
                    },
                    {
                        "result-type": "sts-policy-fetch-error",
                        "failed-session-count": 1,
                        "failure-reason-code": "HTTP status 404",
                    },
                ],
            }
        ],
    }
    assert report.file_name("sender.example") == "sender.example!example.com!1775001600!1775087999.json.gz"


def test_counts_are_exact_and_their_details_bounded() -> None:
    counts = SessionCounts()
    for n in range(MAX_FAILURES + 10):
        counts.succeeded("example.com", POLICY)
        counts.failed("example.com", POLICY, SessionFailure(TlsResult.VALIDATION_FAILURE, address=f"192.0.2.{n}"))
    taken = counts.take()
    assert [(each.successful, each.failed, len(each.failures)) for each in taken] == [
        (MAX_FAILURES + 10, MAX_FAILURES + 10, MAX_FAILURES)
    ]
    assert counts.take() == ()
    counts.put_back(taken)
    counts.succeeded("example.com", POLICY)
    assert counts.take()[0].successful == MAX_FAILURES + 11

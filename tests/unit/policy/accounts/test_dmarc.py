"""DMARC records read as receivers read them (RFC 7489), and the alignment of our mail with them."""

from __future__ import annotations

import pytest

from policy.accounts import dmarc


@pytest.mark.parametrize(
    "text",
    [
        "v=DMARC1; p=none",
        "v=DMARC1;p=Reject;",
        "v = DMARC1 ; p = quarantine ; sp = none",
        "v=DMARC1; p=reject; sp=reject; np=reject; adkim=s; aspf=R; pct=100; fo=1:d:s; rf=afrf; ri=86400",
        "v=DMARC1; p=none; rua=mailto:d@shop.example,mailto:x+y@reports.example!10m; ruf=mailto:r@shop.example",
        "v=DMARC1; p=none; rua=MAILTO:a@shop.example",
        "v=DMARC1; p=none; pct=0; t=y; psd=n",
        "v=DMARC1;\tp=none",
    ],
)
def test_legal_records_have_neither_errors_nor_doubts(text: str) -> None:
    assert dmarc.is_record(text)
    found = dmarc.read(text)
    assert (found.errors, found.doubts) == ([], [])


@pytest.mark.parametrize(
    ("tags", "words"),
    [
        ("", "says nothing like p=none"),
        ("sp=none", "says nothing like p=none"),
        ("p=nothing", "says nothing like p=none"),
        ("p=", "says nothing like p=none"),
        ("p=none; sp=all", "says nothing like sp=none"),
        ("p=none; p=reject", "p= is there twice"),
        ("p=none; rua=mailto:a@b.example; rua=mailto:c@b.example", "rua= is there twice"),
        ("p=none rua=mailto:a@b.example", "a semicolon is missing before rua="),
        ("p=none, sp=none", "a semicolon is missing before sp="),
        ("p=none: rua=mailto:a@b.example", "a semicolon is missing before rua="),
        ("p=none\u200b", "U+200B (ZERO WIDTH SPACE) in place 17"),
        ("p=none\\; rua=mailto:a@b.example", "backslashes"),
        ('p="none"', "quotation marks"),
        ("p\u00a0=none", "NO-BREAK SPACE"),
    ],
)
def test_without_a_policy_that_can_be_read_it_does_not_count(tags: str, words: str) -> None:
    assert words in "; ".join(dmarc.read(f"v=DMARC1; {tags}").errors)


@pytest.mark.parametrize(
    ("tags", "words"),
    [
        ("rua=reports@shop.example", "it is no URI; write mailto:reports@shop.example"),
        ("ruf=reports@shop.example", "ruf=reports@shop.example: reports go nowhere"),
        ("rua=mailto:a@b.example,c@d.example", "rua=c@d.example: reports go nowhere"),
        ("rua=mailto:a@b.example mailto:c@d.example", "separated by commas"),
        ("rua=mailto:a@b.example;mailto:c@d.example", "separated by commas"),
        ("rua=mailto:a@b.example,", "an address is missing"),
        ("rua=", "an address is missing"),
        ("rua=mailto:", "no e-mail address"),
        ("rua=mailto:reports", "no e-mail address"),
        ("rua=mailto:a@localhost", "no e-mail address"),
        ("rua=mailto:a@b@c.example", "no e-mail address"),
        ("rua=mailto:<a@b.example>", "no e-mail address"),
        ("rua=mailto://a@b.example", "without slashes"),
        ("rua=mail:a@b.example", "mail: is not mailto:"),
        ("rua=mailto=a@b.example", "no URI"),
        ("rua=https://b.example/dmarc", "receivers send reports by mail only"),
        ("rua=mailto:a@b.example!10mb", "exclamation mark"),
        ("rua=mailto:a!b@c.example", "exclamation mark"),
        ("pct=101", "pct=101 is passed over"),
        ("pct=50%", "without a percent sign"),
        ("pct=-1", "pct=-1 is passed over"),
        ("adkim=strict", "adkim=strict is passed over: expected r or s"),
        ("aspf=x", "expected r or s"),
        ("fo=1,d", "colons between several"),
        ("fo=2", "fo=2 is passed over"),
        ("rf=iodef", "rf=iodef is passed over"),
        ("ri=daily", "a number of seconds"),
        ("adkim=s aspf=s", "a semicolon is missing before aspf="),
        ("policy=none", "policy= is unknown"),
        ("rau=mailto:a@b.example", "is rua= meant?"),
        ("akdim=s", "is adkim= meant?"),
        ("quarantine", "not of the form tag=value"),
        ("; rua=mailto:a@b.example", "two semicolons"),
    ],
)
def test_what_receivers_pass_over_is_a_doubt(tags: str, words: str) -> None:
    found = dmarc.read(f"v=DMARC1; p=none; {tags}")
    assert found.errors == []
    assert words in "; ".join(found.doubts)


def test_the_policy_comes_first() -> None:
    assert "must follow v=DMARC1" in dmarc.read("v=DMARC1; rua=mailto:a@b.example; p=none").doubts[0]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("v=dmarc1; p=none", "in capitals"),
        ("V=DMARC1; p=none", "in capitals"),
        ("v=DMARC1 p=none", "a semicolon, not ' '"),
        ("v=DMARC1, p=none", "a semicolon, not ','"),
        ("v=DMARC1: p=none", "a semicolon, not ':'"),
        ("DMARC1; p=none", "must begin with exactly v=DMARC1"),
        (" v=DMARC1; p=none", "begins with a space"),
        ('"v=DMARC1; p=none"', "quotation marks"),
        ("v=DMARC1\\; p=none", "backslashes"),
        ("v=DMARC1\u200b; p=none", "U+200B (ZERO WIDTH SPACE) in place 9"),
        ("\ufeffv=DMARC1; p=none", "in place 1"),
    ],
)
def test_a_text_that_was_meant_to_be_a_record_is_told_from_none(text: str, words: str) -> None:
    assert not dmarc.is_record(text)
    assert words in (dmarc.missed([text]) or "")


@pytest.mark.parametrize("text", ["v=DMARC10; p=none", "p=none; v=DMARC1", "v=spf1 -all", ""])
def test_other_texts_are_not_meant(text: str) -> None:
    assert not dmarc.is_record(text)
    assert dmarc.missed([text]) is None


@pytest.mark.parametrize(
    ("tags", "domain", "signers", "return_path", "words"),
    [
        (
            "adkim=s; aspf=s",
            "m.shop.example",
            ["shop.example"],
            "returns.mta.example",
            "wants signatures with d=m.",
        ),
        ("adkim=s; aspf=s", "m.shop.example", ["shop.example"], "returns.m.shop.example", "SPF cannot help"),
        ("adkim=s", "m.shop.example", ["shop.example"], "returns.shop.example", "only SPF counts"),
        ("adkim=s", "m.shop.example", ["shop.example"], None, "only SPF counts"),
        ("adkim=r", "a.co.uk", ["co.uk"], "returns.mta.example", "SPF cannot help"),
    ],
)
def test_mail_that_fails_is_told_with_the_cure(
    tags: str, domain: str, signers: list[str], return_path: str | None, words: str
) -> None:
    why = dmarc.misaligned(dmarc.read(f"v=DMARC1; p=reject; {tags}"), domain, signers, return_path)
    assert why is not None
    assert words in why
    assert f"`mta dkim new {domain}`" in why


@pytest.mark.parametrize(
    ("tags", "signers"),
    [
        ("adkim=r", ["shop.example"]),
        ("", ["shop.example"]),
        ("adkim=s", ["m.shop.example"]),
        ("adkim=s", ["shop.example", "m.shop.example"]),
        ("adkim=s", []),
    ],
)
def test_aligned_mail_passes(tags: str, signers: list[str]) -> None:
    record = dmarc.read(f"v=DMARC1; p=reject; aspf=s; {tags}")
    assert dmarc.misaligned(record, "m.shop.example", signers, "returns.mta.example") is None


def test_reports_elsewhere_need_consent() -> None:
    assert dmarc.is_outside("reports.example", "_dmarc.shop.example")
    assert not dmarc.is_outside("reports.shop.example", "_dmarc.m.shop.example")
    assert dmarc.read("v=DMARC1; p=none; rua=mailto:a@B.example,mailto:b@b.example").reports_to == ("b.example",)

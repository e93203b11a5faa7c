"""SPF records read as receivers read them (RFC 7208): what is an error, what a doubt, what is fine."""

from __future__ import annotations

import pytest

from policy.accounts import spf
from policy.accounts.spf import Spf

OWNER = "shop.example"


def read(terms: str) -> Spf:
    return spf.read(f"v=spf1 {terms}", OWNER)


@pytest.mark.parametrize(
    "terms",
    [
        "-all",
        "mx -all",
        "MX A -ALL",
        "+mx ?a:mail.shop.example ~all",
        "a:mail.shop.example/24 mx/28 exp=e.shop.example ~all",
        "a/24//64 mx//64 a:x.example//128 -all",
        "ip4:192.0.2.1 ip4:192.0.2.0/24 ip6:2001:db8::/32 ip6:::ffff:192.0.2.1 -all",
        "include:_spf.example.com. include:spf.x.co.uk -all",
        "exists:%{ir}.%{l1r-}._spf.%{d} -all",
        "exists:%{i}._spf.%{d2} include:%{d} -all",
        "a:%{d1r+/}.x.example/24 a:%{h}/24 -all",
        "include:%{S}.x.example -all",
        "redirect=_spf.shop.example.org",
        "redirect=%{d}._spf.example.com",
        "ra=postmaster rp=100 rr=e -all",
        "?include:x.example -ip4:192.0.2.1/32 -all",
        "  mx    -all  ",
        "include:xn--bcher-kva.example -all",
        "include:a_b.y.example -all",
    ],
)
def test_legal_records_have_neither_errors_nor_doubts(terms: str) -> None:
    found = read(terms)
    assert (found.errors, found.doubts) == ([], [])


@pytest.mark.parametrize(
    ("terms", "words"),
    [
        # addresses
        ("ip4:198.51.100.999 -all", "'198.51.100.999' is no IPv4 address"),
        ("ip4:198.51.100 -all", "no IPv4 address"),
        ("ip4:198.51.100.01 -all", "no IPv4 address"),
        ("ip4:mail.shop.example -all", "no IPv4 address"),
        ("ip4:2001:db8::1 -all", "belongs behind ip6:"),
        ("ip6:198.51.100.7 -all", "belongs behind ip4:"),
        ("ip6:2001:db8:::1 -all", "no IPv6 address"),
        ("ip6:fe80::1%eth0 -all", "zone"),
        ("ip4:198.51.100.0/40 -all", "/40 is no prefix length from 0 to 32"),
        ("ip4:198.51.100.0/ -all", "/ is no prefix length"),
        ("ip4:198.51.100.0/024 -all", "/024 is no prefix length"),
        ("ip4:198.51.100.0/255.255.255.0 -all", "no prefix length"),
        ("ip6:2001:db8::/129 -all", "from 0 to 128"),
        ("ip4: -all", "needs an address"),
        ("ip4 -all", "needs an address"),
        ("ip6 -all", "needs an address, ip6:2001:db8::1"),
        ("ip4:192.0.2.1,192.0.2.2 -all", "no IPv4 address"),
        ("ip4:192.0.2.1-all", "a space is missing"),
        ("ip4:192.0.2.1ip4:192.0.2.2 -all", "a space is missing"),
        ("192.0.2.1 -all", "; is ip4 meant?"),
        # names of terms
        ("ipv4:192.0.2.1 -all", "; is ip4 meant?"),
        ("ip:192.0.2.1 -all", "; is ip4 meant?"),
        ("inlcude:x.example -all", "is include meant?"),
        ("includes:x.example -all", "is include meant?"),
        ("redirect:x.example", "write redirect="),
        ("exp:x.example -all", "write exp="),
        ("include=x.example -all", "write include:x.example"),
        ("ip4=192.0.2.1 -all", "write ip4:192.0.2.1"),
        ("a=x.example -all", "write a:x.example"),
        ("all= mx", "unknown modifier"),
        ("+include=x.example -all", "write +include:x.example"),
        ("rediret=x.example", "is redirect meant?"),
        ("all; mx", "write all without"),
        ("-all.", "unknown term"),
        ("- all", "unknown term"),
        ("mx,a -all", "unknown term"),
        ("-all: mx", "all stands alone"),
        ("mx -all/24", "all stands alone"),
        # domains
        ("include: -all", "include needs a domain"),
        ("include -all", "include needs a domain"),
        ("exists -all", "exists needs a domain"),
        ("ptr: -all", "ptr needs a domain"),
        ("redirect=", "a domain is missing"),
        ("a:192.0.2.1 -all", "a domain is wanted, not an address"),
        ("mx:192.0.2.1/24 -all", "a domain is wanted, not an address"),
        ("include:localhost -all", "no fully qualified domain"),
        ("include:x..example -all", "two dots"),
        ("include:.x.example -all", "a dot in front"),
        ("include:https://x.example -all", "':'"),
        ("include:x.example/24 -all", "'/'"),
        ("include:ann@x.example -all", "'@'"),
        ("include:x.example, -all", "','"),
        ("include:x.ex-ample- -all", "no part of a domain"),
        ("include:" + "x" * 64 + ".example -all", "no part of a domain"),
        ("mx/24/64 -all", "write mx/24, mx//64 or mx/24//64"),
        ("a/33 -all", "/33 is no prefix length"),
        ("a//129 -all", "/129 is no prefix length"),
        # run together
        ("include:returns.shop.example-all", "a space is missing before -all"),
        ("include:returns.shop.example~all", "a space is missing"),
        ("include:a.exampleinclude:b.example -all", "a space is missing"),
        ("include:a.examplemx -all", "a space is missing before mx"),
        ("include:a.comall", "a space is missing before all"),
        ("mxinclude:a.example -all", "unknown term 'mxinclude:a.example'; a space is missing before include"),
        ("mx-all", "a space is missing before -all"),
        ("mx a~all", "a space is missing before ~all"),
        ("amx -all", "a space is missing before mx"),
        ("-allall", "a space is missing before all"),
        ("include :x.example -all", "include needs a domain"),
        # macros
        ("exists:%{x}.shop.example -all", "no macro"),
        ("exists:%{d0}.shop.example -all", "keeps no part"),
        ("exists:%{d.shop.example -all", "no macro"),
        ("exists:%d.shop.example -all", "no macro"),
        ("exists:100%.shop.example -all", "no macro"),
        ("exists:%{c}.shop.example -all", "in an explanation only"),
        ("exp=%{t}.shop.example -all", "in an explanation only"),
        # all terms together
        ("-all include:returns.shop.example", "behind -all is never tested: include:returns.shop.example"),
        ("~all mx -all", "behind ~all is never tested: mx -all"),
        ("all", "lets everybody pass (all)"),
        ("mx +all", "lets everybody pass (+all)"),
        ("ip4:0.0.0.0/0 -all", "lets everybody pass"),
        ("ip6:::/0 -all", "lets everybody pass"),
        ("a/0 -all", "lets everybody pass"),
        ("redirect=a.example redirect=b.example", "redirect= is there 2 times"),
        ("exp=a.example exp=b.example -all", "exp= is there 2 times"),
        ("include:shop.example -all", "leads back"),
        ("redirect=Shop.Example.", "leads back"),
        (" ".join(f"include:s{n}.example" for n in range(11)) + " -all", "11 look-ups"),
        (" ".join(f"a:s{n}.example" for n in range(10)) + " redirect=x.example", "11 look-ups"),
        ("mx ptr exists:x.example " * 4 + "-all", "12 look-ups"),
        # characters
        ("mx \u2013all", "U+2013 (EN DASH) in place 11"),
        ("mx\u00a0-all", "U+00A0 (NO-BREAK SPACE) in place 10"),
        ("mx\t-all", "U+0009 (TAB) in place 10"),
        ("include:b\u00fccher.example -all", "U+00FC"),
        ("include:x\u200b.example -all", "ZERO WIDTH SPACE"),
        ("mx \ufffd-all", "not UTF-8 in place 11"),
    ],
)
def test_what_receivers_cannot_read_or_what_was_not_meant_is_an_error(terms: str, words: str) -> None:
    assert words in "; ".join(read(terms).errors)


@pytest.mark.parametrize(
    ("terms", "words"),
    [
        ("", "nothing is said of others"),
        ("a mx", "nothing is said of others"),
        ("mx ?all", "nothing is said of others"),
        ("mx -all redirect=x.example", "redirect= is passed over"),
        ("redirect=x.example mx -all", "redirect= is passed over"),
        ("mx ptr -all", "ptr is slow"),
        ("-include:x.example -all", "rejects what it includes"),
        ("v=spf1 mx -all", "'v=spf1' means nothing"),
        ("mx moo=x -all", "'moo=x' means nothing"),
        ("include:spf.shop.exmaple -all", "no top-level domain .exmaple"),
        ("ip4:128.0.0.0/1 -all", "many millions"),
    ],
)
def test_what_works_and_should_be_mended_is_a_doubt(terms: str, words: str) -> None:
    found = read(terms)
    assert found.errors == []
    assert words in "; ".join(found.doubts)


def test_every_wrong_term_is_told_at_once() -> None:
    assert len(read("ip4:1 ip6:2 include: -all").errors) == 3


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("v=spf1\u200b include:x.example -all", "U+200B (ZERO WIDTH SPACE) in place 7"),
        ("\ufeffv=spf1 -all", "U+FEFF (ZERO WIDTH NO-BREAK SPACE) in place 1"),
        ("v=s\u00adpf1 -all", "U+00AD (SOFT HYPHEN) in place 4"),
        ("\uff56=spf1 -all", "U+FF56"),
        ("v=spf1\u00a0-all", "U+00A0 (NO-BREAK SPACE) in place 7"),
        ("v=spf1\t-all", "TAB"),
        (" v=spf1 -all", "begins with a space"),
        ('"v=spf1 -all"', "quotation marks"),
        ("\u201cv=spf1 -all\u201d", "quotation marks"),
        ("v=spf1; mx; -all", "not ';'"),
        ("v=spf1-all", "not '-'"),
        ("v=spf1include:x.example -all", "not 'i'"),
        ("v = spf1 -all", "must begin with exactly v=spf1"),
        ("v=spf 1 -all", "must begin with exactly v=spf1"),
        ("spf1 mx -all", "must begin with exactly v=spf1"),
        ("v=sfp1 mx -all", "not 'v=sfp1'"),
    ],
)
def test_a_text_that_was_meant_to_be_a_record_is_told_from_none(text: str, words: str) -> None:
    assert not spf.is_record(text)
    assert words in (spf.missed(["other=1", text]) or "")


@pytest.mark.parametrize("text", ["v=spf10 -all", "google-site-verification=spf1", "spf2.0/pra -all", "", "MS=ms123"])
def test_other_texts_are_not_meant(text: str) -> None:
    assert spf.missed([text]) is None


def test_lookups_are_counted_through_what_is_included() -> None:
    own = read("include:a.example include:b.example mx -all")
    others = {
        "a.example": spf.read("v=spf1 include:b.example a mx -all include:never.example", "a.example"),
        "b.example": spf.read("v=spf1 mx ip4:192.0.2.1 include:a.example -all", "b.example"),
    }
    # 3 of its own; a: 3 and, through it, b: 2 (a circle ends there); b: 2 and, through it, a: 3
    assert spf.count_lookups(own, others) == 3 + (3 + 2) + (2 + 3)

"""SPF and DMARC records that were taken for good ones, each as it was published."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from policy.accounts.sender_domain import (
    CheckMark,
    CheckResult,
    DomainCheck,
    DomainRecords,
    Selector,
    is_fit,
    judge,
    owner_text,
)

INPUTS = Path(__file__).parent / "inputs"
TOKEN = "c0ffee"
PERFECT = DomainRecords(
    owner=[owner_text(TOKEN)],
    spf=["v=spf1 include:returns.shop.example -all"],
    selectors=(Selector("sel._domainkey.shop.example", ()),),
    dmarc=("_dmarc.shop.example", ["v=DMARC1; p=none"]),
    deaf=None,
    return_path="returns.mta.example",
)


def lines(name: str) -> list[str]:
    return (INPUTS / f"{name}.txt").read_text(encoding="utf-8").splitlines()


def check(subject: DomainCheck, domain: str = "shop.example", **changes: object) -> CheckResult:
    found = judge(domain, TOKEN, replace(PERFECT, **changes))  # type: ignore[arg-type]
    if any(each.mark is CheckMark.BAD for each in found):
        assert not is_fit(found)
    return next(each for each in found if each.subject is subject)


def spf(text: str) -> CheckResult:
    return check(DomainCheck.SPF, spf=[text])


@pytest.mark.parametrize(
    ("line", "term"),
    list(enumerate(("'ip4:198.51.100.999'", "'ip6:198.51.100.7'", "'ip4:198.51.100.0/40'"))),
)
def test_21_a_broken_term_is_named(line: int, term: str) -> None:
    found = spf(lines("21-spf-broken-terms")[line])
    assert (found.mark, term in found.text) == (CheckMark.BAD, True)


def test_22_what_stands_behind_all_is_never_tested() -> None:
    found = spf(*lines("22-spf-all-comes-first"))
    assert (found.mark, "never tested: include:returns.shop.example" in found.text) == (CheckMark.BAD, True)


def test_23_an_equals_sign_for_a_colon() -> None:
    found = spf(*lines("23-spf-equals-for-colon"))
    assert (found.mark, "write include:returns.shop.example" in found.text) == (CheckMark.BAD, True)


def test_24_strings_are_joined_without_a_space() -> None:
    (line,) = lines("24-spf-strings-run-together")
    found = spf("".join(re.findall('"([^"]*)"', line)))
    assert (found.mark, "a space is missing before -all" in found.text) == (CheckMark.BAD, True)


def test_25_a_hidden_character_has_a_name_and_a_place() -> None:
    found = spf(*lines("25-spf-hidden-character"))
    assert (found.mark, "U+200B (ZERO WIDTH SPACE) in place 7" in found.text) == (CheckMark.BAD, True)


def test_26_reports_to_what_is_no_uri_go_nowhere() -> None:
    found = check(DomainCheck.DMARC, dmarc=("_dmarc.shop.example", lines("26-dmarc-rua-without-mailto")))
    assert (found.mark, "write mailto:reports@shop.example" in found.text) == (CheckMark.WEAK, True)


def test_27_strict_alignment_wants_a_key_of_the_domain_itself() -> None:
    (record,) = re.findall(r'^_dmarc\S+ TXT "(.*)"', "\n".join(lines("27-dmarc-strict-parent-key")), re.MULTILINE)
    published = ("_dmarc.m.shop.example", [record])
    found = check(DomainCheck.DMARC, "m.shop.example", dmarc=published)
    assert found.mark is CheckMark.BAD
    assert "d=m.shop.example" in found.text
    assert "mta dkim new m.shop.example" in found.text
    assert "the return path is returns.mta.example" in found.text
    own = (Selector("sel._domainkey.m.shop.example", ()),)
    assert check(DomainCheck.DMARC, "m.shop.example", dmarc=published, selectors=own).mark is CheckMark.GOOD

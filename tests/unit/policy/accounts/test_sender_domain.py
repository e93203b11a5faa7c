"""What the DNS says of a sender domain, judged."""

from __future__ import annotations

from dataclasses import replace

import pytest

from policy.accounts.sender_domain import (
    CheckMark,
    CheckResult,
    DomainCheck,
    DomainProblem,
    DomainRecords,
    Selector,
    is_fit,
    judge,
    owner_name,
    owner_text,
    receives,
)

DOMAIN, TOKEN = "shop.example", "c0ffee"
PERFECT = DomainRecords(
    owner=[owner_text(TOKEN)],
    spf=["google-site-verification=x", "v=spf1 ip4:192.0.2.1 include:_spf.example -all"],
    selectors=(Selector("s1._domainkey.shop.example", ()),),
    dmarc=("_dmarc.shop.example", ["v=DMARC1; p=none; rua=mailto:d@shop.example"]),
    deaf=None,
)


def judged(subject: DomainCheck, **changes: object) -> CheckResult:
    found = judge(DOMAIN, TOKEN, replace(PERFECT, **changes))  # type: ignore[arg-type]
    return next(each for each in found if each.subject is subject)


def test_a_domain_with_everything_is_fit() -> None:
    found = judge(DOMAIN, TOKEN, PERFECT)
    assert [each.subject for each in found] == list(DomainCheck)
    assert {each.mark for each in found} == {CheckMark.GOOD}
    assert is_fit(found)
    assert receives(found) is True


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        ([], "has no TXT record"),
        (["v=spf1 -all"], "has another token"),
        ([owner_text(TOKEN) + "0"], "has another token"),
        ([owner_text(TOKEN.upper())], "has another token"),
    ],
)
def test_the_owner_is_proved_by_the_token_alone_and_told_what_to_publish(texts: list[str], words: str) -> None:
    found = judged(DomainCheck.OWNER, owner=texts)
    assert found.mark is CheckMark.BAD
    assert words in found.text
    assert f'{owner_name(DOMAIN)}. IN TXT "{owner_text(TOKEN)}"' in found.text


@pytest.mark.parametrize(
    ("texts", "mark", "words"),
    [
        ([], CheckMark.BAD, "no SPF record"),
        (["v=spf10 -all"], CheckMark.BAD, "no SPF record"),
        (["v=spf1 -all", "v=spf1 mx -all"], CheckMark.BAD, "2 SPF records"),
        (["V=SPF1 MX -ALL"], CheckMark.GOOD, "MX"),
        (["v=spf1"], CheckMark.WEAK, "nothing is said of others"),
        (["v=spf1 a mx"], CheckMark.WEAK, "nothing is said of others"),
        (["v=spf1 ?all"], CheckMark.WEAK, "nothing is said of others"),
        (["v=spf1 redirect=_spf.example"], CheckMark.GOOD, "redirect"),
        (["v=spf1 mx +all"], CheckMark.BAD, "everybody"),
        (["v=spf1 mx all"], CheckMark.BAD, "everybody"),
        (["v=spf1 ipv4:192.0.2.1 -all"], CheckMark.BAD, "unknown term 'ipv4:192.0.2.1'"),
        (["v=spf1 a:mail.shop.example/24 mx/28 exp=e.shop.example ~all"], CheckMark.GOOD, "~all"),
        (["v=spf1 " + " ".join(f"include:s{n}.example" for n in range(11)) + " -all"], CheckMark.BAD, "more than 10"),
        (["v=spf1 " + " ".join(f"include:s{n}.example" for n in range(10)) + " -all"], CheckMark.GOOD, "include"),
    ],
)
def test_spf_is_read_as_receivers_read_it(texts: list[str], mark: CheckMark, words: str) -> None:
    found = judged(DomainCheck.SPF, spf=texts)
    assert (found.mark, words in found.text) == (mark, True), found.text


def test_dkim_needs_a_key_of_ours_whose_record_verifies() -> None:
    assert "mta dkim new shop.example" in judged(DomainCheck.DKIM, selectors=()).text
    broken = judged(DomainCheck.DKIM, selectors=(Selector("s1", ()), Selector("s2", ("there is no TXT record",))))
    assert (broken.mark, broken.text) == (CheckMark.BAD, "s2: there is no TXT record")
    weak = judged(DomainCheck.DKIM, selectors=(Selector("s1", (), "RSA with 1024 bits is weak"),))
    assert (weak.mark, weak.text) == (CheckMark.WEAK, "s1: RSA with 1024 bits is weak")


@pytest.mark.parametrize(
    ("texts", "mark", "words"),
    [
        ([], CheckMark.BAD, 'publish one, for example: _dmarc.shop.example. IN TXT "v=DMARC1; p=none'),
        (["v=DMARC10; p=none"], CheckMark.BAD, "no DMARC record"),
        (["p=none; v=DMARC1"], CheckMark.BAD, "no DMARC record"),
        (["v=DMARC1"], CheckMark.BAD, "says nothing like p=none"),
        (["v=DMARC1; sp=none"], CheckMark.BAD, "says nothing like p=none"),
        (["v=DMARC1; p=nothing"], CheckMark.BAD, "says nothing like p=none"),
        (["v=DMARC1;p=Reject"], CheckMark.GOOD, "p=Reject"),
        (["v = DMARC1 ; p = quarantine"], CheckMark.GOOD, "quarantine"),
        (["v=DMARC1; p=none", "v=DMARC1; p=none"], CheckMark.BAD, "2 DMARC records"),
    ],
)
def test_dmarc_needs_one_record_with_a_policy(texts: list[str], mark: CheckMark, words: str) -> None:
    found = judged(DomainCheck.DMARC, dmarc=("_dmarc.shop.example", texts))
    assert (found.mark, words in found.text) == (mark, True), found.text


def test_a_domain_that_cannot_be_answered_is_fit_but_deaf() -> None:
    found = judge(DOMAIN, TOKEN, replace(PERFECT, deaf="the domain shop.example takes no mail (null MX)"))
    assert is_fit(found)
    assert receives(found) is False


TROUBLE = DomainProblem("no name server answered")


@pytest.mark.parametrize(
    "change",
    [{"owner": TROUBLE}, {"spf": TROUBLE}, {"selectors": TROUBLE}, {"dmarc": ("_dmarc.shop.example", TROUBLE)}],
)
def test_trouble_with_the_dns_is_never_a_proof(change: dict[str, object]) -> None:
    found = judge(DOMAIN, TOKEN, replace(PERFECT, **change))  # type: ignore[arg-type]
    assert not is_fit(found)
    assert [each.mark for each in found if each.text == TROUBLE.why] == [CheckMark.UNKNOWN]


def test_trouble_says_nothing_about_receiving() -> None:
    assert receives(judge(DOMAIN, TOKEN, replace(PERFECT, deaf=TROUBLE))) is None


def test_whose_it_is_may_have_been_settled_before() -> None:
    found = judge(DOMAIN, TOKEN, replace(PERFECT, owner=[]))
    assert not is_fit(found)
    assert is_fit(found, proved=True)
    assert not is_fit(judge(DOMAIN, TOKEN, replace(PERFECT, owner=[], spf=[])), proved=True)

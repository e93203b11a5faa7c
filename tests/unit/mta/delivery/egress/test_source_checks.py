"""What is wrong with a source, by what the machine and the DNS say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest

from mta.delivery.egress.source_checks import LookupFailed, SourceFacts, is_generic, is_private, judge
from mta.delivery.egress.spf_verdict import SpfAnswer, SpfLookupError, SpfVerdict, check_host
from mta.mail.source_fault import SourceFault, SourceFaultKind

GOOD = SourceFacts(
    "192.0.2.1",
    "mta1.example.com",
    None,
    ("mta1.example.com",),
    {"mta1.example.com": ("192.0.2.1",)},
    "returns.example.com",
    SpfAnswer(SpfVerdict.PASS, "'ip4:192.0.2.1' is what applies"),
)
DOWN = LookupFailed("no name server answered")


def change(**changes: object) -> SourceFacts:
    return replace(GOOD, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("facts", "kinds", "text", "remedy"),
    [
        (change(missing="Cannot assign requested address"), ["absent"], "cannot send from 192.0.2.1", "an interface"),
        (change(names=()), ["no_ptr"], "no PTR record", "1.2.0.192.in-addr.arpa. PTR mta1.example.com."),
        (
            change(names=("x.example.com",), forward={**GOOD.forward, "x.example.com": ("192.0.2.9",)}),
            ["ptr_unconfirmed"], "does not lead back", "publish: x.example.com. A 192.0.2.1",
        ),
        (
            change(names=("c192-0-2-1.isp.net",), forward={**GOOD.forward, "c192-0-2-1.isp.net": ("192.0.2.1",)}),
            ["ptr_generic"], "networks give to every address", "PTR mta1.example.com.",
        ),
        (
            change(ehlo="other.example.com", forward={**GOOD.forward, "other.example.com": ("192.0.2.7",)}),
            ["ehlo"], "leads to 192.0.2.7", "other.example.com. A 192.0.2.1",
        ),
        (change(ehlo="none.example.com"), ["ehlo"], "has no address", "none.example.com. A 192.0.2.1"),
        (
            change(spf=SpfAnswer(SpfVerdict.FAIL, "'-all' is what applies to 192.0.2.1")),
            ["spf"], "'-all'", "put ip4:192.0.2.1 in front",
        ),
        (
            change(spf=SpfAnswer(SpfVerdict.NONE, "there is no SPF record")),
            ["spf"], "no SPF record", 'returns.example.com. TXT "v=spf1 ip4:192.0.2.1 -all"',
        ),
    ],
)  # fmt: skip
def test_each_fault_has_its_remedy(facts: SourceFacts, kinds: list[str], text: str, remedy: str) -> None:
    found = judge(facts)
    assert [fault.kind.value for fault in found.faults] == kinds
    assert text in found.faults[0].text
    assert remedy in found.faults[0].remedy
    assert not found.unknown


def test_one_in_order_and_a_private_one_have_no_fault() -> None:
    assert judge(GOOD).faults == ()
    assert judge(SourceFacts("10.0.0.7", "mta1.example.com")).faults == ()
    assert is_private("127.0.1.1")
    assert is_private("fd00::1")
    assert not is_private("2001:db8::1")


@pytest.mark.parametrize(
    ("facts", "kind"),
    [
        (change(names=DOWN), SourceFaultKind.NO_PTR),
        (change(names=("x.example",), forward={**GOOD.forward, "x.example": DOWN}), SourceFaultKind.PTR_UNCONFIRMED),
        (change(forward={"mta1.example.com": DOWN}), SourceFaultKind.EHLO),
        (change(spf=SpfAnswer(SpfVerdict.TEMPERROR, "no answer")), SourceFaultKind.SPF),
    ],
)
def test_what_cannot_be_looked_up_changes_nothing(facts: SourceFacts, kind: SourceFaultKind) -> None:
    found, before = judge(facts), [SourceFault(kind, "it was so", "do this")]
    assert kind in found.unknown
    assert found.after(before) == tuple(before)
    assert found.after(()) == ()
    assert judge(GOOD).after(before) == ()


@pytest.mark.parametrize(
    ("name", "address"),
    [
        ("static.1.2.0.192.clients.hoster.example", "192.0.2.1"),
        ("192-0-2-1.isp.example", "192.0.2.1"),
        ("ip-192-000-002-001.isp.example", "192.0.2.1"),
        ("c0000201.isp.example", "192.0.2.1"),
        ("p57a0b1.dip0.t-ipconnect.example.net", "87.160.177.1"),
        ("host-2-0-192.dsl.isp.example", "192.0.2.99"),
        ("dhcp17.isp.example", "192.0.2.1"),
        ("2001-db8-0-0-1-2-3-4.v6.isp.example", "2001:db8:0:0:1:2:3:4"),
    ],
)
def test_names_that_networks_give(name: str, address: str) -> None:
    assert is_generic(name, address)


@pytest.mark.parametrize(
    ("name", "address"),
    [
        ("mta1.example.com", "192.0.2.1"),
        ("out-2.mail24.example.com", "192.0.2.1"),
        ("a8-70.smtp-out.provider.example", "192.0.8.70"),
        ("mail.dynamics.example", "192.0.2.1"),
        ("mx.cablevision.example", "192.0.2.1"),
        ("mail-six.example.com", "2001:db8::1:25"),
    ],
)
def test_names_that_people_choose(name: str, address: str) -> None:
    assert not is_generic(name, address)


def spf(records: Mapping[tuple[str, str], Sequence[str]]) -> object:
    async def ask(name: str, kind: str) -> Sequence[str]:
        if name == "down.example":
            raise SpfLookupError("no answer")
        return records.get((name, kind), ())

    return ask


RECORDS: dict[tuple[str, str], Sequence[str]] = {
    ("inc.example", "TXT"): ["v=spf1 ip4:198.51.100.0/24 ip6:2001:db8::/32 -all"],
    ("mail.example", "A"): ["192.0.2.20"],
    ("mail.example", "AAAA"): ["2001:db8:7::1"],
    ("r.example", "MX"): ["mail.example"],
}


@pytest.mark.parametrize(
    ("record", "address", "verdict"),
    [
        ("v=spf1 ip4:192.0.2.0/24 -all", "192.0.2.1", SpfVerdict.PASS),
        ("v=spf1 ip4:192.0.2.0/24 -all", "198.51.100.1", SpfVerdict.FAIL),
        ("v=spf1 ip4:192.0.2.0/24 ~all", "198.51.100.1", SpfVerdict.SOFTFAIL),
        ("v=spf1 ip4:192.0.2.0/24", "198.51.100.1", SpfVerdict.NEUTRAL),
        ("v=spf1 include:inc.example ~all", "198.51.100.1", SpfVerdict.PASS),
        ("v=spf1 include:inc.example -all", "192.0.2.1", SpfVerdict.FAIL),
        ("v=spf1 redirect=inc.example", "2001:db8::5", SpfVerdict.PASS),
        ("v=spf1 a:mail.example/28 -all", "192.0.2.30", SpfVerdict.PASS),
        ("v=spf1 a:mail.example/28//48 -all", "2001:db8:7:9::1", SpfVerdict.PASS),
        ("v=spf1 a:mail.example -all", "192.0.2.30", SpfVerdict.FAIL),
        ("v=spf1 mx -all", "192.0.2.20", SpfVerdict.PASS),
        ("v=spf1 include:nothing.example -all", "192.0.2.1", SpfVerdict.PERMERROR),
        ("v=spf1 ipv4:192.0.2.1 -all", "192.0.2.1", SpfVerdict.PERMERROR),
        ("v=spf1 include:down.example -all", "192.0.2.1", SpfVerdict.TEMPERROR),
        ("v=spf1 exists:%{i}.x.example -all", "192.0.2.1", SpfVerdict.UNDECIDED),
        ("v=spf1 -ip4:192.0.2.1 +all", "192.0.2.1", SpfVerdict.FAIL),
        ("no record", "192.0.2.1", SpfVerdict.NONE),
    ],
)
async def test_spf_is_evaluated_as_receivers_do(record: str, address: str, verdict: SpfVerdict) -> None:
    ask = spf({**RECORDS, ("r.example", "TXT"): [record, "other text"]})
    assert (await check_host(ask, address, "r.example")).verdict is verdict  # type: ignore[arg-type]


async def test_more_than_ten_lookups_are_a_permerror() -> None:
    chain = {(f"d{n}.example", "TXT"): [f"v=spf1 include:d{n + 1}.example -all"] for n in range(12)}
    found = await check_host(spf(chain), "192.0.2.1", "d0.example")  # type: ignore[arg-type]
    assert (found.verdict, "more than 10 look-ups" in found.text) == (SpfVerdict.PERMERROR, True)

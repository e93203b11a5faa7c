"""Which demand applies to a host: DANE, MTA-STS, the sender's wish and our settings against each other."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mta.delivery.tls.dane import Tlsa
from mta.delivery.tls.demand import DomainTls, HostDemand, HostTlsa, TlsPolicy, Unfit, judge, judge_static
from mta.delivery.tls.mta_sts import StsMode, StsPolicy
from mta.mail.message import SenderTls
from mta.mail.tls_session import PolicyKind, TlsResult

HOST = "mx1.example.com"
GOOD = Tlsa(3, 1, 1, bytes(32))
UNUSABLE = Tlsa(1, 1, 1, bytes(32))
NONE, OPPORTUNISTIC, REQUIRED = TlsPolicy.NONE, TlsPolicy.OPPORTUNISTIC, TlsPolicy.REQUIRED
DEFAULT, WANTED, OPTIONAL = SenderTls.AS_POLICY, SenderTls.REQUIRED, SenderTls.OPTIONAL


def sts(mode: StsMode, *mx: str) -> StsPolicy:
    return StsPolicy(mode, mx or (HOST,), 86400)


def published(policy: StsPolicy | None = None, tlsa: HostTlsa | None = None, *, secure: bool = False) -> DomainTls:
    return DomainTls("example.com", policy, secure, {HOST: tlsa} if tlsa else {})


def demanded(found: HostDemand | Unfit) -> tuple[TlsPolicy, str, bool]:
    assert isinstance(found, HostDemand), found
    return found.demand.policy, found.by, found.otherwise is not None


def test_without_policies_our_settings_apply() -> None:
    for ours in (NONE, OPPORTUNISTIC, REQUIRED):
        assert demanded(judge(HOST, published(), ours, DEFAULT)) == (ours, "", False)
        assert demanded(judge(HOST, published(sts(StsMode.NONE)), ours, DEFAULT)) == (ours, "", False)


def test_mta_sts_demands_a_valid_certificate_of_its_hosts() -> None:
    by = "MTA-STS policy of example.com"
    assert demanded(judge(HOST, published(sts(StsMode.ENFORCE)), NONE, DEFAULT)) == (REQUIRED, by, False)
    assert demanded(judge(HOST, published(sts(StsMode.TESTING)), NONE, DEFAULT)) == (REQUIRED, by, True)
    assert demanded(judge(HOST, published(sts(StsMode.TESTING)), REQUIRED, DEFAULT)) == (REQUIRED, by, False)
    other = judge(HOST, published(sts(StsMode.ENFORCE, "mx2.example.com")), NONE, DEFAULT)
    assert isinstance(other, Unfit)
    assert other.by == by


def test_a_host_that_is_not_of_a_policy_in_testing_gets_the_mail() -> None:
    found = judge(HOST, published(sts(StsMode.TESTING, "mx2.example.com")), OPPORTUNISTIC, DEFAULT)
    assert isinstance(found, HostDemand)
    assert found.demand.policy is OPPORTUNISTIC
    assert found.fault is not None
    assert found.applied is not None
    assert found.applied.kind is PolicyKind.STS


def test_dane_comes_before_mta_sts() -> None:
    found = judge(HOST, published(sts(StsMode.ENFORCE, "mx2.example.com"), HostTlsa(HOST, (GOOD,))), NONE, DEFAULT)
    assert demanded(found) == (TlsPolicy.DANE, "DANE for mx1.example.com", False)
    assert isinstance(found, HostDemand)
    assert found.demand.tlsa == (GOOD,)
    assert found.demand.names == (HOST, "example.com")
    broken = judge(HOST, published(sts(StsMode.ENFORCE), HostTlsa(HOST, error="SERVFAIL")), OPPORTUNISTIC, DEFAULT)
    assert isinstance(broken, Unfit)
    assert broken.fault.result is TlsResult.DNSSEC_INVALID


def test_unusable_records_demand_encryption() -> None:
    unusable = published(tlsa=HostTlsa(HOST, (UNUSABLE,)))
    assert demanded(judge(HOST, unusable, NONE, DEFAULT))[0] is TlsPolicy.ENCRYPTED
    assert demanded(judge(HOST, unusable, REQUIRED, DEFAULT))[0] is REQUIRED


def test_requiretls_needs_hosts_that_the_domain_has_vouched_for() -> None:
    found = judge(HOST, published(), OPPORTUNISTIC, WANTED)
    assert isinstance(found, Unfit)
    assert found.by == "REQUIRETLS"
    for vouched in (published(secure=True), published(sts(StsMode.ENFORCE)), published(sts(StsMode.TESTING))):
        assert demanded(judge(HOST, vouched, OPPORTUNISTIC, WANTED)) == (REQUIRED, "REQUIRETLS", False)
    dane = published(tlsa=HostTlsa(HOST, (GOOD,)), secure=True)
    assert demanded(judge(HOST, dane, OPPORTUNISTIC, WANTED))[0] is TlsPolicy.DANE
    unusable = published(tlsa=HostTlsa(HOST, (UNUSABLE,)), secure=True)
    assert demanded(judge(HOST, unusable, OPPORTUNISTIC, WANTED))[0] is REQUIRED


def test_a_smart_host_is_named_by_the_operator() -> None:
    for ours, expected in ((OPPORTUNISTIC, REQUIRED), (NONE, REQUIRED), (TlsPolicy.IMPLICIT, TlsPolicy.IMPLICIT)):
        assert judge_static(HOST, ours, WANTED).demand.policy is expected
        assert judge_static(HOST, ours, DEFAULT).demand.policy is ours
        assert judge_static(HOST, ours, OPTIONAL).demand.policy is ours


POLICIES = st.one_of(
    st.none(), st.builds(sts, st.sampled_from(list(StsMode)), st.sampled_from([HOST, "*.example.com", "other.example"]))
)
TLSA = st.one_of(
    st.none(),
    st.builds(HostTlsa, st.just(HOST), st.lists(st.sampled_from([GOOD, UNUSABLE])).map(tuple)),
    st.just(HostTlsa(HOST, error="no answer")),
)


@given(POLICIES, TLSA, st.booleans(), st.sampled_from([NONE, OPPORTUNISTIC, REQUIRED]), st.sampled_from(SenderTls))
def test_never_less_than_what_is_demanded(
    policy: StsPolicy | None, tlsa: HostTlsa | None, secure: bool, ours: TlsPolicy, wish: SenderTls
) -> None:
    found = judge(HOST, published(policy, tlsa, secure=secure), ours, wish)
    if wish is OPTIONAL:
        assert demanded(found)[0] is ours
        return
    if isinstance(found, Unfit):
        assert (policy and policy.mode is StsMode.ENFORCE) or tlsa or wish is WANTED
        return
    got = found.demand.policy
    if tlsa or (policy and policy.mode is StsMode.ENFORCE) or wish is WANTED:
        assert got not in (TlsPolicy.NONE, TlsPolicy.OPPORTUNISTIC)
        assert found.otherwise is None
    if wish is WANTED or ours is REQUIRED:
        assert got in (TlsPolicy.DANE, REQUIRED)

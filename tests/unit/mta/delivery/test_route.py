"""Choosing among hosts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.schema import Listener, RouteSettings, Shaping, ShapingSettings
from mta.delivery.route import (
    MxHost,
    Ourselves,
    ProviderIndex,
    Route,
    StaticHost,
    StaticRoutes,
    Target,
    interleave,
    mail_exchanges,
    site_of,
    static_host,
    without_ourselves,
)
from mta.delivery.tls.demand import TlsPolicy

ADDRESSES = st.lists(st.integers(0, 99).map(str), unique=True, max_size=6)


@given(ADDRESSES, ADDRESSES, st.integers(1, 12))
def test_addresses_by_turns(six: list[str], four: list[str], most: int) -> None:
    six, four = [f"6:{each}" for each in six], [f"4.{each}" for each in four]
    mixed = interleave(six, four, most)
    assert len(mixed) == min(most, len(six) + len(four))
    assert set(mixed) <= {*six, *four}
    if six and four and most >= 2:
        assert (mixed[0][0], mixed[1][0]) == ("6", "4")


@given(st.lists(st.tuples(st.integers(0, 3), st.sampled_from("abcdef")), min_size=1, max_size=10))
def test_tries_are_the_hosts_by_preference_with_a_hosts_addresses_together(pairs: list[tuple[int, str]]) -> None:
    hosts = tuple(
        Target(name, f"192.0.2.{n}", 25, preference)
        for n, (preference, name) in enumerate(sorted(pairs, key=lambda p: p[0]))
    )
    tries = Route("x", Shaping(), hosts).tries()
    assert sorted(tries, key=str) == sorted(hosts, key=str)
    assert [target.preference for target in tries] == sorted(target.preference for target in hosts)
    runs = [
        key
        for n, key in enumerate(tries)
        if n == 0 or (tries[n - 1].preference, tries[n - 1].name) != (key.preference, key.name)
    ]
    assert len({(target.preference, target.name) for target in runs}) == len(runs)


@given(st.lists(st.tuples(st.integers(0, 3), st.booleans()), max_size=8))
def test_nothing_at_our_own_preference_or_behind_it(pairs: list[tuple[int, bool]]) -> None:
    pairs = sorted(pairs)
    targets = [Target(f"h{n}", "us" if ours else "them", 25, preference) for n, (preference, ours) in enumerate(pairs)]
    kept = without_ourselves(targets, lambda target: target.address == "us")
    own = min((preference for preference, ours in pairs if ours), default=99)
    assert [target.name for target in kept] == [f"h{n}" for n, (preference, _) in enumerate(pairs) if preference < own]


def test_null_mx_among_others_is_no_host() -> None:
    assert mail_exchanges("d.example", [MxHost(10, "a"), MxHost(0, "")]) == [MxHost(10, "a")]
    assert mail_exchanges("d.example", [MxHost(0, "")]) == []
    assert mail_exchanges("d.example", []) == [MxHost(0, "d.example")]


@pytest.mark.parametrize(
    ("hosts", "site"),
    [
        (["mx.google.com"], "google"),
        (["google.com"], "google"),
        (["mx.notgoogle.com"], "mx.notgoogle.com"),
        (["mx.google.com", "mx.example.com"], "mx.example.com,mx.google.com"),
        (["b.example", "a.example"], "a.example,b.example"),
    ],
)
def test_sites(hosts: list[str], site: str) -> None:
    providers = ProviderIndex(ShapingSettings(providers=[Shaping(name="google", mx=[".google.com"])]))
    exchanges = [MxHost(10, host) for host in hosts] + [MxHost(20, "last.example")]
    assert site_of("d.example", exchanges, providers)[0] == site


@pytest.mark.parametrize(
    ("listener", "address", "ours"),
    [
        ("198.51.100.1", "198.51.100.1", True),
        ("198.51.100.1", "198.51.100.2", False),
        ("0.0.0.0", "198.51.100.2", False),
        ("0.0.0.0", "local", True),
        ("::", "local", True),
        ("::1", "127.9.9.9", True),
        ("::1", "::ffff:127.0.0.1", True),
    ],
)
def test_ourselves(listener: str, address: str, ours: bool) -> None:
    us = Ourselves.of("Out.Example", [Listener(address=listener, port=25)])
    real = "203.0.113.9" if address == "local" else address
    assert us.meets(Target("mx", real, 25), lambda _: address == "local") is ours
    assert us.meets(Target("out.example", "203.0.113.1", 25), lambda _: False)
    if address != "local" and not address.startswith(("127", "::")):
        assert not us.meets(Target("mx", real, 26), lambda _: True)


@pytest.mark.parametrize(
    ("text", "host"),
    [
        ("Relay.Example.com", StaticHost("relay.example.com", 25, False)),
        ("relay.example.com.:587", StaticHost("relay.example.com", 587, False)),
        ("[192.0.2.1]:2525", StaticHost("192.0.2.1", 2525, True)),
        ("[2001:db8::1]", StaticHost("2001:db8::1", 25, True)),
        ("192.0.2.1:26", StaticHost("192.0.2.1", 26, True)),
    ],
)
def test_static_hosts(text: str, host: StaticHost) -> None:
    assert static_host(text, 25) == host


def test_routes() -> None:
    routes = StaticRoutes(
        [
            RouteSettings(domains=["*", "a.example"], hosts=["star"]),
            RouteSettings(domains=[".example", "a.example"], hosts=["below"], tls="implicit"),
            RouteSettings(domains=[".b.example"], hosts=["deeper"], tls="none"),
        ],
    )

    def name(domain: str) -> str:
        route = routes.find(domain)
        assert route is not None
        return route.hosts[0].name

    assert [name(domain) for domain in ("x.org", "example", "a.example", "c.example")] == [
        "star",
        "star",
        "star",
        "below",
    ]
    assert [name(domain) for domain in ("b.example", "x.b.example", "y.x.b.example")] == ["below", "deeper", "deeper"]
    below = routes.find("c.example")
    assert below is not None
    assert (below.tls, below.hosts[0].port) == (TlsPolicy.IMPLICIT, 465)
    assert StaticRoutes([]).find("x.org") is None


def test_the_first_provider_that_claims_a_domain_or_all_its_best_hosts_counts() -> None:
    given = [
        {"name": "hosts", "mx": [".mail.example", "mx.other.example"]},
        {"name": "names", "domains": ["own.example"]},
        {"name": "later", "mx": [".example"], "domains": ["own.example"]},
    ]
    providers = ProviderIndex(ShapingSettings.model_validate({"providers": given}))

    def site(domain: str, *hosts: str) -> str:
        return site_of(domain, [MxHost(10, host) for host in hosts], providers)[0]

    assert site("a.example.net", "a.mail.example", "mail.example") == "hosts"
    assert site("a.example.net", "a.mail.example", "mx.other.example") == "hosts"
    assert site("a.example.net", "a.mail.example", "b.example") == "later"
    assert site("a.example.net", "a.mail.example", "b.example.net") == "a.mail.example,b.example.net"
    assert site("own.example", "x.example.net") == "names"
    assert site("own.example", "a.mail.example") == "hosts"
    assert site("a.example.net", "xmail.example.net") == "xmail.example.net"

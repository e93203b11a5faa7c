"""Finding the hosts of a domain: what is permanent, what is temporary, what is remembered, and what would loop."""

import asyncio
import random
from types import SimpleNamespace

import dns.resolver
import pytest

from config.schema import Settings
from mta.delivery.mx import Resolver
from mta.delivery.name_servers import DnsError
from mta.delivery.route import Route
from mta.mail.reply import Reply
from mta.testing.nameserver import DnsFault, NameServer, Node
from tests.flow.far_end import far_end, replies


def addresses(route: Route) -> list[str]:
    return [target.address for target in route.hosts]


@pytest.mark.parametrize(
    ("node", "code", "status"),
    [
        (None, 550, "5.1.2"),  # NXDOMAIN
        (Node(txt=("nothing else",)), 550, "5.1.2"),  # neither MX nor address
        (Node(mx=((0, ""),)), 556, "5.1.10"),  # null MX, RFC 7505
        (Node(mx=((10, "nowhere.example"),)), 550, "5.4.4"),
        (DnsFault.SERVFAIL, 451, "4.4.3"),
        (DnsFault.REFUSED, 451, "4.4.3"),
        (DnsFault.FORMERR, 451, "4.4.3"),
        (DnsFault.LAME, 451, "4.4.3"),
        (DnsFault.REFERRAL, 451, "4.4.3"),
        (DnsFault.SILENT, 451, "4.4.3"),
        (DnsFault.GARBAGE, 451, "4.4.3"),
        (DnsFault.WRONG_ID, 451, "4.4.3"),
        (Node(faults={"MX": DnsFault.SERVFAIL}, a=("127.0.0.2",)), 451, "4.4.3"),  # no implicit MX then
        (Node(mx=((10, "sick.example"),)), 451, "4.4.3"),
        (Node(faults={"A": DnsFault.SERVFAIL}), 451, "4.4.3"),
        (Node(cname="round.example"), 451, "4.4.3"),
    ],
)
async def test_where_no_mail_can_go(node: Node | DnsFault | None, code: int, status: str) -> None:
    in_vain = node in (DnsFault.SILENT, DnsFault.GARBAGE, DnsFault.WRONG_ID)
    async with far_end(dns={"timeout": "100ms"} if in_vain else {}) as far:
        await far.receiver()
        far.zone["sick.example"] = DnsFault.SERVFAIL
        far.zone["round.example"] = Node(cname="round.example")
        if node is not None:
            far.zone["dest.example"] = node
        reply = await far.refusal("dest.example")
        assert (reply.code, reply.status) == (code, status), reply
        assert far.resolver.cached("dest.example") == reply


@pytest.mark.parametrize("node", [None, Node(a=("127.0.0.2",))], ids=["NXDOMAIN", "no MX"])
async def test_servfail_from_one_and_nothing_from_another_is_temporary(node: Node | None) -> None:
    async with far_end() as far:
        await far.receiver()
        if node:
            far.zone["dest.example"] = node
        sick = NameServer({"dest.example": DnsFault.SERVFAIL})
        servers = [f"127.0.0.1:{await sick.start()}", f"127.0.0.1:{far.dns_port}"]
        far.configure(dns={"servers": servers})
        assert (await far.refusal("dest.example")).status == "4.4.3"
        await sick.stop()


@pytest.mark.parametrize("fault", [DnsFault.LAME, DnsFault.REFERRAL, DnsFault.REFUSED, DnsFault.NOTIMP])
async def test_the_next_server_may_know_what_a_lame_one_does_not(fault: DnsFault) -> None:
    async with far_end() as far:
        await far.receiver()
        lame = NameServer(dict.fromkeys(("example.com", "mx1.example.com", "nowhere.example"), fault))
        far.configure(dns={"servers": [f"127.0.0.1:{await lame.start()}", f"127.0.0.1:{far.dns_port}"]})
        assert addresses(await far.route()) == ["127.0.0.2"]
        assert (await far.refusal("nowhere.example")).status == "5.1.2"
        await lame.stop()


@pytest.mark.parametrize("fault", [DnsFault.FORMERR, DnsFault.NOTIMP, DnsFault.BADVERS, DnsFault.SILENT])
async def test_a_server_that_does_not_know_edns_is_asked_without(fault: DnsFault) -> None:
    async with far_end(dns={"timeout": "900ms"} if fault is DnsFault.SILENT else {}) as far:
        await far.receiver()
        far.nameserver.edns = fault
        assert addresses(await far.route()) == ["127.0.0.2"]
        first = len(far.nameserver.queries)
        far.zone["later.example"] = Node(mx=((10, "mx1.example.com"),))
        assert addresses(await far.route("later.example")) == ["127.0.0.2"]
        assert first >= 3
        assert [query.edns for query in far.nameserver.queries[1:]] == [False] * (len(far.nameserver.queries) - 1)


async def test_a_server_is_asked_with_edns_again_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SimpleNamespace(now=1000.0)
    monkeypatch.setattr("mta.delivery.name_servers.time", SimpleNamespace(monotonic=lambda: clock.now))
    async with far_end() as far:
        await far.receiver()
        far.nameserver.edns = DnsFault.FORMERR
        await far.route()
        far.nameserver.edns = None
        clock.now += 3600
        await far.resolver.txt("example.com")
        assert far.nameserver.queries[-1].edns


@pytest.mark.parametrize("fault", [DnsFault.SERVFAIL, DnsFault.REFUSED, DnsFault.SILENT, DnsFault.LAME])
@pytest.mark.parametrize("broken", ["A", "AAAA"])
async def test_one_family_that_fails_beside_a_good_one_costs_nothing(broken: str, fault: DnsFault) -> None:
    """A silent server would be waited for for 2/3 of 60 s: the test's own time limit would end it."""
    async with far_end(dns={"timeout": "60s"}, egress={"ipv6": True}) as far:
        await far.receiver()
        far.zone["dest.example"] = Node(a=("127.0.0.2",), aaaa=("::1",), faults={broken: fault})
        async with asyncio.timeout(10):
            assert addresses(await far.route("dest.example")) == ["127.0.0.2" if broken == "AAAA" else "::1"]


async def test_forged_answers_are_ignored() -> None:
    async with far_end() as far:
        await far.receiver()
        far.zone["example.com"] = Node(mx=((10, "mx1.example.com"),), faults={"MX": DnsFault.FORGED_FIRST})
        far.zone["mx1.example.com"] = Node(a=("127.0.0.2",), faults={"A": DnsFault.FORGED_FIRST})
        assert addresses(await far.route()) == ["127.0.0.2"]


@pytest.mark.parametrize(
    ("host", "told"),
    [
        ("192.0.2.9", "the MX of dest.example is 192.0.2.9, an address instead of a host name"),
        ("2001:db8::9", "the MX of dest.example is 2001:db8::9, an address instead of a host name"),
        ("mail.dest.example.dest.example", "mail.dest.example.dest.example does not exist: a dot missing in the zone?"),
        ("mx.other.test.dest.example", "mx.other.test.dest.example does not exist: a dot missing in the zone?"),
        ("gone.dest.example", "no mail host of dest.example has an address: gone.dest.example does not exist"),
        ("txt.example", "no mail host of dest.example has an address: txt.example has none"),
    ],
)
async def test_an_mx_that_leads_nowhere_is_named(host: str, told: str) -> None:
    async with far_end() as far:
        await far.receiver()
        far.zone["dest.example"] = Node(mx=((10, host),))
        far.zone["txt.example"] = Node(txt=("no address",))
        reply = await far.refusal("dest.example")
        assert (reply.code, reply.status) == (550, "5.4.4")
        assert told in reply.text
        far.zone["both.example"] = Node(mx=((10, host), (20, "mx1.example.com")))
        assert addresses(await far.route("both.example")) == ["127.0.0.2"]


async def test_a_silent_server_is_passed_over() -> None:
    async with far_end() as far:
        await far.receiver()
        silent = NameServer({"example.com": DnsFault.SILENT, "mx1.example.com": DnsFault.SILENT})
        servers = [f"127.0.0.1:{await silent.start()}", f"127.0.0.1:{far.dns_port}"]
        far.configure(dns={"servers": servers, "timeout": "500ms"})
        assert addresses(await far.route()) == ["127.0.0.2"]
        await silent.stop()


async def test_answers_that_are_too_big_come_over_tcp() -> None:
    async with far_end() as far:
        await far.receiver()
        far.zone["example.com"] = Node(mx=((10, "mx1.example.com"),), faults={"MX": DnsFault.TRUNCATED})
        assert addresses(await far.route()) == ["127.0.0.2"]
        assert [query.tcp for query in far.nameserver.queries if query.kind == "MX"] == [False, True]


async def test_slow_answers_disturb_nobody_else() -> None:
    async with far_end() as far:
        await far.receiver()
        far.zone["slow.example"] = Node(mx=((10, "mx1.example.com"),), delay=0.1)
        slow = asyncio.create_task(far.resolver.route("slow.example"))
        assert addresses(await far.route()) == ["127.0.0.2"]
        assert not slow.done()
        assert isinstance(await slow, Route)


async def test_by_preference_and_equal_ones_at_random() -> None:
    async with far_end() as far:
        await far.receiver()
        far.zone["dest.example"] = Node(
            mx=((20, "c.example"), (10, "b.example"), (10, "a.example"), (30, "gone.example"))
        )
        for name, address in (("a", "127.0.0.2"), ("b", "127.0.0.3"), ("c", "127.0.0.4")):
            far.zone[f"{name}.example"] = Node(a=(address,))
        route = await far.route("dest.example")
        assert route.site == "a.example,b.example"
        orders = {"".join(target.name[0] for target in route.tries()) for _ in range(100)}
        assert orders == {"abc", "bac"}


async def test_the_domain_itself_and_aliases() -> None:
    async with far_end() as far:
        await far.receiver()
        far.zone["plain.example"] = Node(a=("127.0.0.2",))
        far.zone["alias.example"] = Node(cname="example.com")
        far.zone["far.example"] = Node(cname="a1.example")
        far.zone.update({f"a{n}.example": Node(cname=f"a{n + 1}.example") for n in range(1, 5)})
        far.zone["a5.example"] = Node(mx=((10, "mx1.example.com"),))
        far.zone["dest.example"] = Node(mx=((10, "mxalias.example"),))
        far.zone["mxalias.example"] = Node(cname="mx1.example.com")
        assert (await far.route("plain.example")).site == "plain.example"
        assert (await far.route("alias.example")).site == "mx1.example.com"
        assert addresses(await far.route("dest.example")) == ["127.0.0.2"]
        for domain in ("plain.example", "alias.example", "far.example", "dest.example"):
            assert replies(await far.deliver(f"bob@{domain}")) == {"bob": "250 2.0.0"}


async def test_a_hundred_mail_exchangers_are_no_work_without_end() -> None:
    async with far_end() as far:
        await far.receiver()
        far.zone["dest.example"] = Node(mx=tuple((n, f"mx{n}.dest.example") for n in range(100)))
        for n in range(100):
            far.zone[f"mx{n}.dest.example"] = Node(a=(f"127.0.3.{n}",))
        assert len((await far.route("dest.example")).hosts) <= 2 * 20
        assert len(far.nameserver.queries) <= 1 + 2 * 20
        attempt = await far.deliver("bob@dest.example")
        assert replies(attempt) == {"bob": "451 4.4.1"}


async def test_six_and_four_by_turns() -> None:
    async with far_end() as far:
        await far.receiver()
        far.configure(egress={"ipv6": True})
        far.zone["dest.example"] = Node(a=("127.0.0.2", "127.0.0.3"), aaaa=("::1", "fe80::1", "fe80::2"))
        families = ["six" if ":" in address else "four" for address in addresses(await far.route("dest.example"))]
        assert families == ["six", "four", "six", "four", "six"]


async def test_dead_ipv6_falls_back_to_ipv4() -> None:
    async with far_end() as far:
        await far.receiver()
        far.configure(egress={"ipv6": True})
        far.zone["dest.example"] = Node(mx=((10, "both.example"),))
        far.zone["both.example"] = Node(a=("127.0.0.2",), aaaa=("::1",))  # nobody listens on ::1
        attempt = await far.deliver("bob@dest.example")
        assert replies(attempt) == {"bob": "250 2.0.0"}
        assert attempt.host is not None
        assert attempt.host.address == "127.0.0.2"


async def test_only_families_that_there_is_a_source_for() -> None:
    async with far_end(egress={"sources": [{"name": "four", "address": "127.0.0.1"}], "ipv6": True}) as far:
        await far.receiver()
        far.zone["dest.example"] = Node(a=("127.0.0.2",), aaaa=("::1",))
        assert addresses(await far.route("dest.example")) == ["127.0.0.2"]


@pytest.mark.parametrize(
    ("mx", "left"),
    [
        (((10, "us.example"),), None),
        (((10, "us.example"), (20, "b.example")), None),
        (((10, "b.example"), (20, "us.example"), (20, "c.example"), (30, "d.example")), ["198.51.100.2"]),
        (((10, "out.sender.example"), (20, "b.example")), None),
        (((10, "b.example"), (20, "zero.example")), ["198.51.100.2"]),
        (((10, "mapped.example"),), None),
    ],
)
async def test_ourselves_and_whoever_comes_behind_is_no_target(mx: tuple[tuple[int, str], ...], left) -> None:
    async with far_end() as far:
        await far.receiver()
        far.configure(egress={"ipv6": True}, testing={"loopback_receivers": False})
        far.zone["dest.example"] = Node(mx=mx)
        far.zone["us.example"] = Node(a=("127.0.0.1",))
        far.zone["zero.example"] = Node(a=("0.0.0.0",))
        far.zone["mapped.example"] = Node(aaaa=("::ffff:127.0.0.1",))
        far.zone["out.sender.example"] = Node(a=("198.51.100.1",))
        for n, name in enumerate("bcd", 2):
            far.zone[f"{name}.example"] = Node(a=(f"198.51.100.{n}",))
        route = await far.resolver.route("dest.example")
        if left is None:
            assert isinstance(route, Reply)
            assert (route.code, route.status) == (554, "5.4.6")
        else:
            assert isinstance(route, Route)
            assert addresses(route) == left


async def test_a_listener_of_ours_is_ourselves() -> None:
    listener = {"address": "198.51.100.7", "port": 25}
    async with far_end(submission={"listeners": [listener]}) as far:
        await far.receiver()
        far.zone["dest.example"] = Node(a=("198.51.100.7",))
        far.configure(testing={"loopback_receivers": False, "receiver_port": 25})
        assert (await far.refusal("dest.example")).status == "5.4.6"
        far.configure(testing={"loopback_receivers": False, "receiver_port": 26})
        assert addresses(await far.route("dest.example")) == ["198.51.100.7"]


async def test_a_hundred_callers_cause_one_look_up() -> None:
    async with far_end() as far:
        await far.receiver()
        routes = await asyncio.gather(*(far.resolver.route("example.com") for _ in range(100)))
        assert len({id(route) for route in routes}) == 1
        assert far.nameserver.asked("example.com", "MX") == 1
        assert far.nameserver.asked("mx1.example.com", "A") == 1


async def test_a_caller_that_gives_up_disturbs_nobody() -> None:
    async with far_end() as far:
        await far.receiver()
        far.zone["slow.example"] = Node(mx=((10, "mx1.example.com"),), delay=0.1)
        first = asyncio.create_task(far.resolver.route("slow.example"))
        second = asyncio.create_task(far.resolver.route("slow.example"))
        await asyncio.sleep(0)
        first.cancel()
        assert isinstance(await second, Route)
        assert far.nameserver.asked("slow.example", "MX") == 1


async def test_domains_with_the_same_hosts_share_site_and_look_ups() -> None:
    async with far_end() as far:
        await far.receiver()
        for n in range(20):
            far.zone[f"d{n}.example"] = Node(mx=((10, "mx1.example.com"),))
        routes = await asyncio.gather(*(far.resolver.route(f"d{n}.example") for n in range(20)))
        assert {route.site for route in routes} == {"mx1.example.com"}
        assert far.nameserver.asked("mx1.example.com", "A") == 1


async def test_an_answer_holds_within_the_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SimpleNamespace(now=1000.0)
    monkeypatch.setattr("mta.delivery.lookup_cache.time", SimpleNamespace(monotonic=lambda: clock.now))
    async with far_end(dns={"min_ttl": "10s", "max_ttl": "100s"}) as far:
        await far.receiver()
        far.zone["short.example"] = Node(a=("127.0.0.2",), ttl=1)
        for domain, holds in (("example.com", 100), ("short.example", 10), ("nowhere.example", 60)):
            began = clock.now
            route = await far.resolver.route(domain)
            clock.now = began + holds - 0.1
            assert far.resolver.cached(domain) is route
            clock.now = began + holds
            assert far.resolver.cached(domain) is None
            assert await far.resolver.route(domain) is not route


async def test_failures_may_be_forgotten_before_their_time() -> None:
    """An operator has mended the DNS, and retries."""
    async with far_end() as far:
        await far.receiver()
        far.zone["dest.example"] = Node(mx=((10, "sick.example"),))
        far.zone["sick.example"] = DnsFault.SERVFAIL
        assert (await far.refusal("dest.example")).code == 451
        assert (await far.refusal("nowhere.example")).code == 550
        known = await far.route()
        far.zone["sick.example"] = Node(a=("127.0.0.2",))
        assert (await far.refusal("dest.example")).code == 451
        far.resolver.forget_failures()
        assert addresses(await far.route("dest.example")) == ["127.0.0.2"]
        assert far.resolver.cached("example.com") is known
        assert far.resolver.cached("nowhere.example") is not None


async def test_providers_make_one_site_of_many_hosts() -> None:
    providers = [
        {"name": "big", "mx": [".big.example"], "connections": 7},
        {"name": "other", "domains": ["named.example"]},
    ]
    async with far_end(shaping={"providers": providers}) as far:
        await far.receiver()
        for domain in ("a.example", "b.example"):
            host = f"{domain.replace('.', '-')}.mail.big.example"
            far.zone[domain] = Node(mx=((10, host), (20, "mx1.example.com")))
            far.zone[host] = Node(a=("127.0.0.2",))
        far.zone["named.example"] = Node(mx=((10, "mx1.example.com"),))
        for domain in ("a.example", "b.example"):
            route = await far.route(domain)
            assert (route.site, route.provider, route.shaping.connections) == ("big", "big", 7)
        assert (await far.route("named.example")).site == "other"
        assert (await far.route("example.com")).site == "mx1.example.com"


async def test_txt_records() -> None:
    async with far_end() as far:
        await far.receiver()
        far.zone["sel._domainkey.sender.example"] = Node(txt=("v=DKIM1; k=rsa; p=" + "A" * 400,))
        far.zone["sick.example"] = DnsFault.SERVFAIL
        assert await far.resolver.txt("sel._domainkey.sender.example") == ["v=DKIM1; k=rsa; p=" + "A" * 400]
        assert await far.resolver.txt("none.example") == []
        with pytest.raises(DnsError, match="SERVFAIL"):
            await far.resolver.txt("sick.example")


async def test_what_is_no_name_does_not_exist() -> None:
    async with far_end() as far:
        await far.receiver()
        assert (await far.refusal("a" * 64 + ".example")).status == "5.1.2"
        assert (await far.refusal("double..dot")).status == "5.1.2"


async def test_many_names_at_once_do_not_need_as_many_sockets() -> None:
    async with far_end() as far:
        await far.receiver()
        names = [f"n{n}-{random.randrange(1000)}.example" for n in range(500)]
        answers = await asyncio.gather(*(far.resolver.route(name) for name in names))
        assert {answer.status for answer in answers if isinstance(answer, Reply)} == {"5.1.2"}


async def test_a_server_that_cannot_be_reached_and_one_at_an_ipv6_address() -> None:
    async with far_end() as far:
        await far.receiver()
        six = NameServer(far.zone)
        port = await six.start("::1")
        far.configure(dns={"servers": ["127.0.0.1:1", f"[::1]:{port}"], "timeout": "500ms"})
        assert addresses(await far.route()) == ["127.0.0.2"]
        await six.stop()


async def test_the_servers_of_the_system(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of resolv.conf, and without one this machine (resolv.conf(5))."""
    asked: list[tuple[str, int]] = []

    async def refuse(server: tuple[str, int], *_: object) -> None:
        asked.append(server)
        raise OSError("not in a test")

    monkeypatch.setattr("mta.delivery.name_servers._by_udp", refuse)
    monkeypatch.setattr("dns.resolver.Resolver", lambda: SimpleNamespace(nameservers=["192.0.2.53", "2001:db8::53"]))
    assert isinstance(await Resolver(Settings()).route("example.com"), Reply)
    assert asked[:2] == [("192.0.2.53", 53), ("2001:db8::53", 53)]

    def none() -> None:
        raise dns.resolver.NoResolverConfiguration

    asked.clear()
    monkeypatch.setattr("dns.resolver.Resolver", none)
    assert isinstance(await Resolver(Settings()).route("example.com"), Reply)
    assert asked[0] == ("127.0.0.1", 53)


async def test_a_server_that_starts_again_is_waited_for() -> None:
    async with far_end() as far:
        await far.receiver()
        await far.nameserver.stop()
        asked = asyncio.create_task(far.route())
        await asyncio.sleep(0.1)
        assert not asked.done()
        await far.nameserver.start(port=far.dns_port)
        assert addresses(await asked) == ["127.0.0.2"]
        assert all(query.edns for query in far.nameserver.queries)

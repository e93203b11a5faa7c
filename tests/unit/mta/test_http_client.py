"""Which addresses and URLs a webhook may have: every way in that is known, and every spelling of it."""

from __future__ import annotations

import ipaddress
import socket
from typing import Any

import pytest
from aiohttp import ClientError, ClientSession, web
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.test_utils import unused_port
from hypothesis import given
from hypothesis import strategies as st

from mta.http_client import NotPublic, check_url, connector, is_public, require_public

REFUSED: list[str] = """
0.0.0.0 0.1.2.3 10.0.0.1 10.255.255.255 100.64.0.1 100.127.255.255 127.0.0.1 127.255.255.254 169.254.169.254
172.16.0.1 172.31.255.255 192.0.0.1 192.0.0.170 192.0.2.1 192.88.99.1 192.168.0.1 198.18.0.1 198.19.255.255
198.51.100.1 203.0.113.1 224.0.0.1 239.255.255.255 240.0.0.1 255.255.255.255
:: ::1 ::127.0.0.1 ::ffff:127.0.0.1 ::ffff:10.0.0.1 ::ffff:169.254.169.254 ::ffff:0:127.0.0.1 64:ff9b::10.0.0.1
64:ff9b::7f00:1 64:ff9b:1::1 100::1 2001::1 2001:0:4136:e378:8000:63bf:3fff:fdd2 2001:db8::1 2002:7f00:1::
2002:a00:1::1 2002:a9fe:a9fe:: 3fff::1 5f00::1 fc00::1 fd12:3456:789a::1 fe80::1 fec0::1 ff02::1
fd00:ec2::254
""".split()  # noqa: SIM905

PUBLIC = """
1.1.1.1 8.8.8.8 100.63.255.255 100.128.0.1 172.15.0.1 172.32.0.1 191.255.255.255 193.0.0.1 223.255.255.255
2a00:1450:4001:81b::200e 2606:4700::1111 2620:fe::fe ::ffff:8.8.8.8 64:ff9b::8.8.8.8 2002:808:808::1
""".split()  # noqa: SIM905

ANY = st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6))


@pytest.mark.parametrize("address", REFUSED)
def test_what_is_not_the_public_internet_is_refused(address: str) -> None:
    assert not is_public(ipaddress.ip_address(address))
    with pytest.raises(NotPublic):
        require_public(address)


@pytest.mark.parametrize("address", PUBLIC)
def test_what_is_public_is_not(address: str) -> None:
    assert is_public(ipaddress.ip_address(address))


@given(st.ip_addresses(v=4))
def test_an_address_in_another_is_judged_by_itself(inner: ipaddress.IPv4Address) -> None:
    mapped = ipaddress.IPv6Address(f"::ffff:{inner}")
    translated = ipaddress.IPv6Address(f"64:ff9b::{inner}")
    sixtofour = ipaddress.IPv6Address(0x2002 << 112 | int(inner) << 80 | 1)
    assert {is_public(each) for each in (mapped, translated, sixtofour)} == {is_public(inner)}


@given(ANY)
def test_nothing_is_public_that_python_calls_private(address: Any) -> None:
    if address.is_private or address.is_loopback or address.is_link_local or address.is_unspecified:
        # An embedded IPv4 address decides (Python 3.13 calls all of 6to4 private).
        embedded = getattr(address, "ipv4_mapped", None) or getattr(address, "sixtofour", None)
        assert not is_public(address) or embedded


def test_a_scope_does_not_hide_an_address() -> None:
    with pytest.raises(NotPublic):
        require_public("fe80::1%eth0")


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://example.com/", "must start with https"),
        ("ftp://example.com/", "must start with https"),
        ("https:///path", "has no host"),
        ("example.com", "has no host"),
        ("https://ann:secret@example.com/", "cannot have a user name or password"),
        ("https://ann@example.com/", "cannot have a user name or password"),
        ("https://example.com/#part", "never sent"),
        ("https://example.com/a b", "printable ASCII"),
        ("https://example.com/\n", "printable ASCII"),
        ("https://exämple.com/", "printable ASCII"),
        ("https://example.com/" + "a" * 2000, "at most 2000"),
        ("https://example.com:99999/", "not a URL"),
        ("https://127.0.0.1/", "not a public internet address"),
        ("https://[::1]/", "not a public internet address"),
        ("https://[::ffff:10.0.0.1]/", "not a public internet address"),
        ("https://169.254.169.254/latest/meta-data/", "not a public internet address"),
        ("http://localhost:8080/", "must start with https"),
    ],
)
def test_a_url_that_no_webhook_may_have(url: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        check_url(url)


@pytest.mark.parametrize("url", ["https://example.com", "https://example.com:8443/a?b=c", "https://8.8.8.8/"])
def test_a_url_that_one_may_have(url: str) -> None:
    check_url(url)


def test_without_tls_only_this_machine_and_only_by_setting() -> None:
    check_url("http://127.0.0.1:8080/", allow_private=True)
    check_url("https://10.0.0.1/", allow_private=True)
    with pytest.raises(ValueError, match="must start with https"):
        check_url("http://10.0.0.1/", allow_private=True)


class Rebinding(AbstractResolver):
    """A name that has a public address for the first who asks, and loopback from then on."""

    def __init__(self, *addresses: str) -> None:
        self.addresses = list(addresses)
        self.asked = 0

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        self.asked += 1
        address = self.addresses[min(self.asked, len(self.addresses)) - 1]
        return [ResolveResult(hostname=host, host=address, port=port, family=family, proto=0, flags=0)]

    async def close(self) -> None:
        pass


@pytest.mark.parametrize("url", ["http://{}:{}/", "http://rebound.example:{1}/", "http://2130706433:{1}/"])
async def test_the_address_that_is_connected_to_is_the_one_that_is_checked(url: str) -> None:
    reached: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        reached.append(request.path)
        return web.Response()

    app = web.Application()
    app.router.add_route("*", "/", answer)
    runner, port = web.AppRunner(app), unused_port()
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    public_only = connector()
    if "rebound" in url:
        public_only._resolver = Rebinding("127.0.0.1")
    try:
        async with ClientSession(connector=public_only) as client:
            with pytest.raises(ClientError, match=r"not a public internet address|not a canonical IPv4"):
                await client.post(url.format("127.0.0.1", port))
        async with (
            ClientSession(connector=connector(allow_private=True)) as client,
            client.post(f"http://127.0.0.1:{port}/") as response,
        ):
            assert response.status == 200
        assert reached == ["/"], "only what was allowed"
    finally:
        await runner.cleanup()

"""Static routes and smart hosts: what the operator has decided, before anything DNS may say.

*Limits.* Two entries for the same domain: the first one counts, silently.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import ip_address

from config.schema import EgressSettings, RouteSettings
from mta.delivery.route import SmartHostLogin, TlsMode

SMTP_PORT = 25
SMTPS_PORT = 465  # RFC 8314 7.3, for smart hosts with implicit TLS


@dataclass(frozen=True, slots=True)
class StaticHost:
    """A host of a route: a name to be looked up, or an address."""

    name: str
    port: int
    is_address: bool


def static_host(text: str, default_port: int) -> StaticHost:
    """``name``, ``name:port`` or ``[address]:port``, checked when the configuration was read."""
    if text.startswith("["):
        name, _, port = text[1:].partition("]")
        port = port.removeprefix(":")
    else:
        name, _, port = text.partition(":")
    try:
        ip_address(name)
    except ValueError:
        return StaticHost(name.lower().rstrip("."), int(port or default_port), is_address=False)
    return StaticHost(name, int(port or default_port), is_address=True)


@dataclass(frozen=True, slots=True)
class StaticRoute:
    """A route of the configuration, ready for use."""

    hosts: tuple[StaticHost, ...]
    tls: TlsMode
    login: SmartHostLogin | None

    @classmethod
    def of(cls, route: RouteSettings, egress: EgressSettings) -> StaticRoute:
        """Reads the password file. Raises OSError, UnicodeError."""
        tls = TlsMode(route.tls or egress.tls)
        port = SMTPS_PORT if tls is TlsMode.IMPLICIT else SMTP_PORT
        login = None
        if route.username is not None and route.password_file is not None:
            login = SmartHostLogin(route.username, route.password_file.read_text("utf-8").rstrip("\r\n"))
        return cls(tuple(static_host(text, port) for text in route.hosts), tls, login)

    @property
    def site(self) -> str:
        return ",".join(f"{host.name}:{host.port}" for host in self.hosts)


class Routes:
    """Static routes by domain; the most specific one counts."""

    def __init__(self, routes: Iterable[RouteSettings], egress: EgressSettings) -> None:
        self._routes: dict[str, StaticRoute] = {}
        for route in routes:
            ready = StaticRoute.of(route, egress)
            for domain in route.domains:
                self._routes.setdefault(domain.lower(), ready)

    def find(self, domain: str) -> StaticRoute | None:
        if not self._routes:
            return None
        return next((self._routes[key] for key in _keys(domain) if key in self._routes), None)


def _keys(domain: str) -> Iterator[str]:
    yield domain
    rest = domain
    while "." in rest:
        rest = rest.partition(".")[2]
        yield "." + rest
    yield "*"

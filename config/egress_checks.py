"""Checks of the sections about egress that involve several keys: sources, pools, rules, static routes, shaping."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from difflib import get_close_matches

from config.egress import DEFAULT_POOL
from config.hosts import HOST, SUFFIX, has_port, is_address, is_name
from config.schema import (
    PathLimits,
    PoolSettings,
    RouteSettings,
    Settings,
    SourceSettings,
    SourceShaping,
    TenantShaping,
)
from config.toml import Mistake
from config.toml_positions import KeyPath

_RESERVED = "system"  # the name of the source that the system chooses


def egress_check(settings: Settings, shipped: set[str]) -> Iterator[Mistake]:
    """Yield all errors in them; ``shipped``: names of the providers that come with the service."""
    yield from _sources(settings)
    yield from _pools(settings)
    yield from _rules(settings)
    yield from _routes(settings)
    yield from _tls(settings)
    yield from _denied_hosts(settings)
    yield from _providers(settings, shipped)
    yield from _overrides(settings, shipped | {"default", *(each.name for each in settings.shaping.providers)})


def _sources(settings: Settings) -> Iterator[Mistake]:
    seen: set[str] = set()
    for n, source in enumerate(settings.egress.sources):
        path: KeyPath = ("egress", "sources", n)
        if source.name in seen:
            yield Mistake((*path, "name"), f"second source named {source.name}; names must be unique")
        elif source.name == _RESERVED:
            yield Mistake((*path, "name"), f'"{_RESERVED}" is what the system chooses; use another name')
        seen.add(source.name)
        if not is_address(source.address):
            yield Mistake((*path, "address"), 'not an IP address; expected e.g. "192.0.2.1" or "2001:db8::1"')
        if source.proxy is not None:
            yield from _proxy((*path, "proxy"), source.proxy)
        yield from _certificate(path, source)


def _certificate(path: KeyPath, owner: SourceSettings | RouteSettings) -> Iterator[Mistake]:
    if bool(owner.certificate) != bool(owner.key):
        given, other = ("certificate", "key") if owner.certificate else ("key", "certificate")
        yield Mistake((*path, given), f"needs {other}; set both or neither", (other,))


def _tls(settings: Settings) -> Iterator[Mistake]:
    egress = settings.egress
    for n, domain in enumerate(egress.tls_policy_exceptions):
        if not SUFFIX.fullmatch(domain):
            place = ("egress", "tls_policy_exceptions", n)
            yield Mistake(place, 'not a domain; expected "example.com" or ".example.com"')


def _denied_hosts(settings: Settings) -> Iterator[Mistake]:
    for n, denied in enumerate(settings.egress.denied_hosts):
        path: KeyPath = ("egress", "denied_hosts", n)
        if bool(denied.host) == bool(denied.network):
            yield Mistake(path, "set either host or network", ("host", "network"))
        elif denied.host and not SUFFIX.fullmatch(denied.host):
            yield Mistake((*path, "host"), 'not a host; expected "mx.example.com" or ".example.com"')
        if not denied.status.startswith(str(denied.code // 100)):
            text = f"does not go with code {denied.code}; expected {denied.code // 100}.x.y"
            yield Mistake((*path, "status"), text, ("code",))


def _proxy(path: KeyPath, url: str) -> Iterator[Mistake]:
    protocol, _, rest = url.partition("://")
    host = HOST.fullmatch(rest)
    known = host and host["port"] and has_port(host) and is_address(host["literal"] or host["name"])
    if protocol not in ("haproxy", "socks5") or not known:
        yield Mistake(path, 'not a proxy; expected "haproxy://192.0.2.1:5000" or "socks5://[2001:db8::1]:1080"')


def _pools(settings: Settings) -> Iterator[Mistake]:
    sources = {source.name: source for source in settings.egress.sources}
    seen: set[str] = set()
    for n, pool in enumerate(settings.egress.pools):
        path: KeyPath = ("egress", "pools", n)
        if pool.name in seen:
            yield Mistake((*path, "name"), f"second pool named {pool.name}; names must be unique")
        seen.add(pool.name)
        yield from _members(path, pool, sources)
        kinds = {sources[member.source].certified for member in pool.members if member.source in sources}
        if len(kinds) > 1:
            yield Mistake((*path, "members"), "mixes sources that are certified with others; make two pools")
        elif pool.name == DEFAULT_POOL and kinds == {True}:
            yield Mistake(
                path, "the default pool gets all mail, so its sources cannot be certified; give it another name"
            )
    if sources and DEFAULT_POOL not in seen and all(source.certified for source in sources.values()):
        text = "all of them are certified, and no source is left for other mail; add one that is not"
        yield Mistake(("egress", "sources"), text)


def _members(path: KeyPath, pool: PoolSettings, sources: Iterable[str]) -> Iterator[Mistake]:
    seen: set[str] = set()
    for m, member in enumerate(pool.members):
        place = (*path, "members", m, "source")
        if member.source in seen:
            yield Mistake(place, f"{member.source} is in this pool already; give it a weight instead")
        seen.add(member.source)
        yield from known_name(place, "source", member.source, sources)


def _rules(settings: Settings) -> Iterator[Mistake]:
    pools = [DEFAULT_POOL, *(pool.name for pool in settings.egress.pools)]
    conditions = ("accounts", "profiles", "streams", "mailings", "domains")
    for n, rule in enumerate(settings.egress.rules):
        path: KeyPath = ("egress", "rules", n)
        yield from known_name((*path, "pool"), "pool", rule.pool, pools)
        for m, domain in enumerate(rule.domains):
            if not SUFFIX.fullmatch(domain):
                yield Mistake((*path, "domains", m), 'not a domain; expected "example.com" or ".example.com"')
        if not any(getattr(rule, each) for each in conditions) and n + 1 < len(settings.egress.rules):
            yield Mistake(path, "applies to all mail, so that no rule after it is ever used; put it last", conditions)


def _routes(settings: Settings) -> Iterator[Mistake]:
    for n, route in enumerate(settings.routes):
        yield from _route(("routes", n), route)


def _route(path: KeyPath, route: RouteSettings) -> Iterator[Mistake]:
    for key in ("domains", "hosts"):
        if not getattr(route, key):
            yield Mistake((*path, key), "must not be empty")
    for n, domain in enumerate(route.domains):
        if domain != "*" and not SUFFIX.fullmatch(domain):
            expected = '"example.com", ".example.com" for all subdomains, or "*" (non-ASCII names as xn--)'
            yield Mistake((*path, "domains", n), f"not a domain; expected {expected}")
    hosts = [HOST.fullmatch(host) for host in route.hosts]
    for n, host in enumerate(hosts):
        known = host and (is_address(host["literal"]) if host["literal"] else is_name(host["name"]))
        if host is None or not known or not has_port(host):
            expected = '"relay.example.com", "relay.example.com:587" or "[192.0.2.1]:25"'
            yield Mistake((*path, "hosts", n), f"not a host; expected {expected}")
    yield from _certificate(path, route)
    if bool(route.username) != bool(route.password_file):
        given, other = ("username", "password_file") if route.username else ("password_file", "username")
        yield Mistake((*path, given), f"needs {other}; set both or neither", (other,))
    elif route.username and route.tls not in ("required", "implicit"):
        yield Mistake(
            (*path, "username"), 'would send the password unprotected; set tls = "required" or "implicit"', ("tls",)
        )


def _providers(settings: Settings, shipped: set[str]) -> Iterator[Mistake]:
    seen: dict[str, int] = {}
    shapings: list[tuple[KeyPath, PathLimits]] = [(("shaping", "default"), settings.shaping.default)]
    for n, provider in enumerate(settings.shaping.providers):
        path: KeyPath = ("shaping", "providers", n)
        shapings.append((path, provider))
        if provider.name in seen:
            yield Mistake((*path, "name"), f"second provider named {provider.name}; names must be unique")
        elif provider.name == "default":
            yield Mistake((*path, "name"), 'a provider needs a name other than "default"')
        elif not provider.mx and not provider.domains and provider.name not in shipped:
            yield Mistake(
                path, "matches nothing; set mx, domains, or the name of a shipped provider", ("mx", "domains")
            )
        seen[provider.name] = n
        for key in ("mx", "domains"):
            for m, suffix in enumerate(getattr(provider, key)):
                if not SUFFIX.fullmatch(suffix):
                    yield Mistake((*path, key, m), 'not a domain or suffix; expected "example.com" or ".example.com"')
    for key in ("name", "mx", "domains"):
        if getattr(settings.shaping.default, key) == type(settings.shaping.default).model_fields[key].default:
            continue
        yield Mistake(("shaping", "default", key), "belongs to a provider; move it to [[shaping.providers]]")
    for path, shaping in shapings:
        given = {"connections", "initial_connections"} <= shaping.model_fields_set
        if given and shaping.initial_connections > shaping.connections:
            yield Mistake((*path, "initial_connections"), "must not be more than connections", ("connections",))


def _overrides(settings: Settings, providers: set[str]) -> Iterator[Mistake]:
    sources = [source.name for source in settings.egress.sources]
    pools = [DEFAULT_POOL, *(pool.name for pool in settings.egress.pools)]
    for n, override in enumerate(settings.shaping.sources):
        path: KeyPath = ("shaping", "sources", n)
        if (override.source is None) == (override.pool is None):
            yield Mistake(path, "needs a source or a pool, one of them", ("source", "pool"))
        if override.source is not None:
            yield from known_name((*path, "source"), "source", override.source, sources)
        if override.pool is not None:
            yield from known_name((*path, "pool"), "pool", override.pool, pools)
        yield from _provider(path, override, providers)
        if not override.model_fields_set & set(PathLimits.model_fields):
            yield Mistake(path, "changes nothing; set a limit")
    for n, tenant in enumerate(settings.shaping.tenants):
        path = ("shaping", "tenants", n)
        yield from _provider(path, tenant, providers)
        if tenant.connections is None and not tenant.message_rates:
            yield Mistake(path, "limits nothing; set connections or message_rates", ("connections", "message_rates"))


def _provider(path: KeyPath, each: SourceShaping | TenantShaping, providers: set[str]) -> Iterator[Mistake]:
    if each.provider is not None:
        yield from known_name((*path, "provider"), "provider", each.provider, providers)


def known_name(path: KeyPath, kind: str, name: str, known: Iterable[str]) -> Iterator[Mistake]:
    """Yield an error if there is no ``kind`` of this name."""
    names = sorted(set(known))
    if name not in names:
        close = get_close_matches(name, names, 1, 0.6)
        yield Mistake(path, f'there is no {kind} "{name}"; {_instead(close, names)}')


def _instead(close: list[str], names: list[str]) -> str:
    if close:
        return f'did you mean "{close[0]}"?'
    if len(names) == 1:
        return f'there is only "{names[0]}"'
    return f"there are {', '.join(names)}" if names else "there is none"

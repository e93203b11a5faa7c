"""Checks that involve several keys, or that the schema cannot express. Files are checked by ``config.load``."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from ipaddress import ip_address
from urllib.parse import parse_qs, urlsplit
from zoneinfo import ZoneInfo

from config.egress_checks import egress_check
from config.hosts import HOST, dkim_record_name, has_port, is_address, is_name
from config.schema import Settings, Shaping
from config.toml import Mistake, MistakeLevel, dotted
from config.toml_positions import KeyPath

_IN_MEMORY = 1024 * 1024  # octets of the largest message that is held whole in memory
_NOT_SIGNED = {"return-path", "received", "bcc", "resent-bcc", "dkim-signature"}  # RFC 6376 5.4.1
_LOCAL_NAMES = ("localhost", "localhost.localdomain")
_PRIVATE_TOPS = ("arpa", "corp", "home", "internal", "intranet", "invalid", "lan", "local", "localdomain", "localhost")


def cross_check(settings: Settings, shipped: list[Shaping]) -> Iterator[Mistake]:
    """Yield all errors in ``settings``; ``shipped``: the providers that come with the service."""
    for check in CHECKS:
        yield from check(settings)
    yield from egress_check(settings, {provider.name for provider in shipped})


def _database(settings: Settings) -> Iterator[Mistake]:
    path, database = ("database",), settings.database
    if database.url is not None:
        try:
            scheme = urlsplit(database.url).scheme
        except ValueError:
            scheme = ""
        if scheme not in ("postgresql", "postgres"):
            yield Mistake((*path, "url"), "not a PostgreSQL URL; expected postgresql://user@host:5432/name")
    if database.lease <= 2 * database.timeout:
        yield Mistake(
            (*path, "lease"),
            "must be more than twice database.timeout, or live workers are considered dead",
            ("timeout",),
        )


def has_password(url: str | None) -> bool:
    """Whether the URL of a database holds a password."""
    try:
        parts = urlsplit(url or "")
        return bool(parts.password) or "password" in parse_qs(parts.query)
    except ValueError:
        return False


def _is_time_zone(name: str) -> bool:
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # not found, no relative path, a folder
        return False
    return True


def _server(settings: Settings) -> Iterator[Mistake]:
    if not _is_time_zone(settings.server.time_zone):
        yield Mistake(("server", "time_zone"), "no such time zone; expected a name such as Europe/Amsterdam")
    for path, name in ((("server", "hostname"), settings.server.hostname), (("egress", "ehlo"), settings.egress.ehlo)):
        if name and name in _LOCAL_NAMES:
            text = f"{name} is not this host's name in the DNS; many receivers will reject mail"
            yield Mistake(path, text, level=MistakeLevel.NOTE)
        elif name and "." not in name:
            yield Mistake(
                path,
                f"{name} is not fully qualified, so many receivers will reject mail; write it with its domain, "
                f"{name}.example.com (RFC 5321 2.3.5)",
                level=MistakeLevel.WARNING,
            )


def _send_windows(settings: Settings) -> Iterator[Mistake]:
    for n, window in enumerate(settings.queue.send_windows):
        if not _is_time_zone(window.zone):
            yield Mistake(
                ("queue", "send_windows", n, "zone"), "no such time zone; expected a name such as Europe/Amsterdam"
            )


def _listeners(settings: Settings) -> Iterator[Mistake]:
    taken: dict[int, list[tuple[str, str]]] = {}  # by port: address, and who has it
    sections = (("submission", settings.submission.listeners), ("reports", settings.reports.listeners))
    for section, n, listener in ((name, n, each) for name, listed in sections for n, each in enumerate(listed)):
        path = (section, "listeners", n)
        yield from _address((*path, "address"), listener.address)
        yield from _taken(taken, path, listener.address, listener.port)
    web = settings.web
    places: tuple[tuple[tuple[str, ...], str, int | None], ...] = (
        (("web",), web.address, web.port),
        (("web", "public"), web.public.address, web.public.port),
    )
    for part, address, number in places:
        yield from _address((*part, "address"), address)
        yield from _taken(taken, part, address, number)


def _taken(taken: dict[int, list[tuple[str, str]]], path: KeyPath, address: str, port: int | None) -> Iterator[Mistake]:
    """Yield a mistake if an earlier listener has the port, at this address or at all; else note it as taken."""
    if not port:
        return
    for other, name in taken.setdefault(port, []):
        if _same_place(address, other):
            at = "" if address.lower() == other.lower() else f" at {other}"
            yield Mistake((*path, "port"), f"{address} port {port} is already used by {name}{at}", ("address",))
            return
    taken[port].append((address, dotted(path)))


def _same_place(one: str, other: str) -> bool:
    """Whether two addresses cannot be listened on apart; ``::`` is all of them, ``0.0.0.0`` all of IPv4."""
    first, second = one.lower(), other.lower()
    if first == second or "::" in (first, second):
        return True
    return "0.0.0.0" in (first, second) and ":" not in first + second  # noqa: S104  it is compared, not bound


def _certificate(settings: Settings) -> Iterator[Mistake]:
    for path, tls in ((("submission", "tls"), settings.submission.tls), (("web", "public"), settings.web.public)):
        name = ".".join(path)
        if tls.certificate and not tls.key:
            yield Mistake((*path, "certificate"), f"needs a private key; set {name}.key too", ("key",))
        if tls.key and not tls.certificate:
            yield Mistake((*path, "key"), f"needs a certificate; set {name}.certificate too", ("certificate",))


def _limits(settings: Settings) -> Iterator[Mistake]:
    submission, reports = settings.submission.limits, settings.reports.limits
    if submission.message_memory < 4 * min(submission.message_size, _IN_MEMORY):  # three copies and a part kept free
        path = ("submission", "limits", "message_memory")
        yield Mistake(path, "must be at least 4MiB, four times what of a message is in memory")
    if submission.message_disk < submission.message_size:
        path = ("submission", "limits", "message_disk")
        yield Mistake(path, "must be at least submission.limits.message_size", ("message_size",))
    if reports.message_memory < 4 * reports.message_size:
        path = ("reports", "limits", "message_memory")
        yield Mistake(path, "must be at least four times reports.limits.message_size", ("message_size",))


def _reports(settings: Settings) -> Iterator[Mistake]:
    for n, listener in enumerate(settings.reports.listeners):
        if listener.auth_without_tls != "never":
            yield Mistake(("reports", "listeners", n, "auth_without_tls"), "AUTH is not offered here; remove this key")
    if settings.reports.listeners and settings.return_path.domain is None:
        yield Mistake(("reports", "listeners"), "need return_path.domain; set it too")

    forward, domain = settings.reports.postmaster_forward, settings.return_path.domain
    host = (forward or "").rpartition("@")[2].lower()
    if domain and (host == domain or host.endswith(f".{domain}")):
        yield Mistake(
            ("reports", "postmaster_forward"),
            f"{host} is where these mails come from (return_path.domain): they would go round in circles; "
            "name a mailbox elsewhere",
        )
    if domain and not forward:
        yield Mistake(
            ("return_path", "domain"),
            "without reports.postmaster_forward no one reads mail to abuse@ and postmaster@",
            level=MistakeLevel.NOTE,
        )


def _public_url(settings: Settings) -> Iterator[Mistake]:
    """RFC 8058 3.1: an https URL; a token is put behind its path (RFC 3986 3)."""
    public, path = settings.web.public, ("web", "public", "url")
    if public.url is None:
        return
    if why := _no_public_url(public.url, private=settings.testing.loopback_receivers):
        yield Mistake(path, f'{why}; expected e.g. "https://mail.example.com"')
    elif public.port is None:
        yield Mistake(
            path,
            "nothing serves these pages without web.public.port; set it too, on this machine or another",
            ("port",),
            MistakeLevel.WARNING,
        )


def _no_public_url(url: str, *, private: bool) -> str | None:
    """Return why recipients cannot use ``url``, or None. ``private``: in tests they are on this machine."""
    if re.search(r"[^\x21-\x7e]|[<>\"\\^`{|}]", url):
        return "it has a character that a URL cannot have"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return "it is no URL"
    if parts.scheme != "https" and not (private and parts.scheme == "http"):
        return (
            f"it begins with {parts.scheme}://, and must begin with https:// (RFC 8058 3.1)"
            if "://" in url
            else ("it is no URL: https:// is missing")
        )
    host = parts.hostname or ""
    if not host:
        return "it names no host"
    if parts.username is not None or parts.password is not None:
        return "it holds a user name or password, which every recipient would see"
    if "?" in url or "#" in url:
        return f"it ends with {'a query (?)' if '?' in url else 'a fragment (#)'}, behind which no token can stand"
    if port == 0:
        return "port 0 is none"
    if not private and (why := _private(host)):
        return why
    return None


def _private(host: str) -> str | None:
    try:
        address = ip_address(host)
    except ValueError:
        if not is_name(host):
            return f"{host} is no host name"
        if "." not in host.rstrip(".") or host.rstrip(".").rpartition(".")[2] in _PRIVATE_TOPS or host in _LOCAL_NAMES:
            return f"{host} is a name that recipients cannot reach"
        return None
    return None if address.is_global else f"{host} is an address that recipients cannot reach"


def _signing(settings: Settings) -> Iterator[Mistake]:
    seen: set[tuple[str, str]] = set()
    for n, key in enumerate(settings.signing.keys):
        if (key.domain, key.selector) in seen:
            name = dkim_record_name(key.selector, key.domain)
            yield Mistake(("signing", "keys", n), f"second key for {name}; use another selector")
        seen.add((key.domain, key.selector))
    for name in ("headers", "oversign"):
        for n, header in enumerate(getattr(settings.signing, name)):
            if not re.fullmatch(r"[\x21-\x39\x3b-\x7e]+", header):
                yield Mistake(("signing", name, n), "not a header field name; write it without a colon")
            elif header.lower() in _NOT_SIGNED:
                yield Mistake(("signing", name, n), "cannot be signed: it is added or changed in transit")
    if "from" not in (header.lower() for header in settings.signing.headers):
        yield Mistake(("signing", "headers"), 'must contain "From" (RFC 6376 5.4)')


def _queue(settings: Settings) -> Iterator[Mistake]:
    for n, wait in enumerate(settings.queue.retry_schedule):
        if wait <= 0:
            yield Mistake(("queue", "retry_schedule", n), "must be longer than 0s")
    if settings.queue.poll <= 0:
        yield Mistake(("queue", "poll"), "must be longer than 0s")
    if settings.dns.min_ttl > settings.dns.max_ttl:
        yield Mistake(("dns", "min_ttl"), "must not be more than dns.max_ttl", ("max_ttl",))


def _dns(settings: Settings) -> Iterator[Mistake]:
    for n, server in enumerate(settings.dns.servers):
        host = HOST.fullmatch(server)
        address = (host["literal"] or host["name"]) if host and has_port(host) else server
        if not is_address(address):
            expected = '"192.0.2.1", "192.0.2.1:53", "2001:db8::1" or "[2001:db8::1]:53"'
            yield Mistake(("dns", "servers", n), f"not a resolver address; expected {expected}")
        elif settings.dns.validating and not ip_address(address).is_loopback:
            text = "is not on this machine, so that others could forge its AD flag; run a validating resolver here"
            yield Mistake(("dns", "servers", n), text, ("validating",))


def _blocklists(settings: Settings) -> Iterator[Mistake]:
    seen: set[str] = set()
    for n, blocklist in enumerate(settings.blocklists.lists):
        path: KeyPath = ("blocklists", "lists", n)
        if blocklist.name in seen:
            yield Mistake((*path, "name"), f"second list named {blocklist.name}; names must be unique")
        seen.add(blocklist.name)
        for m, answer in enumerate(blocklist.answers):
            if answer.codes.version != 4 or not answer.codes.is_loopback:
                place = (*path, "answers", m, "codes")
                yield Mistake(place, 'not a blocklist answer; expected addresses in 127.0.0.0/8, e.g. "127.0.0.2"')
    for n, subject in enumerate(settings.blocklists.also):
        if not is_address(subject) and not is_name(subject):
            yield Mistake(
                ("blocklists", "also", n), 'not an address or domain; e.g. "192.0.2.1" or "links.example.com"'
            )


def _scanners(settings: Settings) -> Iterator[Mistake]:
    scanners = settings.content_scan
    path = ("content_scan",)
    address = scanners.rspamd.address
    if address is not None and not re.fullmatch(r"https?://[^\s/]+/?", address):
        yield Mistake((*path, "rspamd", "address"), 'not an rspamd URL; expected "http://127.0.0.1:11333"')
    address = scanners.clamav.address
    host = HOST.fullmatch(address or "")
    if address is not None and not address.startswith("/") and not (host and host["port"] and has_port(host)):
        expected = '"/run/clamav/clamd.ctl", "127.0.0.1:3310" or "[::1]:3310"'
        yield Mistake((*path, "clamav", "address"), f"not a clamd address; expected {expected}")


def _address(path: KeyPath, text: str) -> Iterator[Mistake]:
    if not is_address(text):
        yield Mistake(path, 'not an IP address; expected e.g. "127.0.0.1", "0.0.0.0" or "::"')


CHECKS: tuple[Callable[[Settings], Iterator[Mistake]], ...] = (
    _server, _database, _send_windows, _listeners, _public_url, _certificate, _limits, _reports, _signing, _queue, _dns,
    _scanners, _blocklists,
)  # fmt: skip

"""What the configuration expects of this machine: users, directories, the secret, addresses, ports.

Invariants: nothing is changed; an address is tried with a socket that is closed at once.

Limitations: whether a port is free is not tried: the service may be running.
"""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

from config.schema import Settings
from config.toml import Mistake, MistakeLevel
from config.toml_positions import KeyPath
from mta.delivery.egress.local_address import bind_fault
from mta.service.descriptors import hard_limit, share_out
from mta.store.postgres.secrets import SecretError, Secrets

_BIND_LOW_PORTS = 10  # CAP_NET_BIND_SERVICE, capabilities(7)


def environment_mistakes(settings: Settings) -> Iterator[Mistake]:
    """Yield all that this machine lacks."""
    for check in (_user, _data_dir, _secret, _sources, _low_ports, _descriptors):
        yield from check(settings)


def _user(settings: Settings) -> Iterator[Mistake]:
    user, place, ours = settings.server.user, ("server", "user"), os.geteuid()
    try:
        theirs = pwd.getpwnam(user).pw_uid if user else ours
    except KeyError:
        yield Mistake(place, f"there is no user {user!r} on this machine; create it or name another one")
        return
    if ours not in (0, theirs):
        yield Mistake(place, f"only root can run the workers as {user}; this is another user", level=MistakeLevel.NOTE)
    elif theirs == 0:
        text = "the workers, which parse mail from everybody, run as root; name an account for them"
        yield Mistake(place, text, level=MistakeLevel.NOTE)


def _data_dir(settings: Settings) -> Iterator[Mistake]:
    place, wanted = ("server", "data_dir"), settings.server.data_dir
    for path in (wanted, *wanted.parents):
        try:
            if not os.path.lexists(path):
                continue
            if not path.is_dir():
                what = "is a file" if path.exists() else "is a link that leads nowhere"
                inside = "" if path == wanted else f", so that there can be no {wanted}"
                yield Mistake(place, f"{path} {what}{inside}; name a directory")
            elif not os.access(path, os.W_OK | os.X_OK):
                yield Mistake(place, f"this user cannot write to {path}; the service's must", level=MistakeLevel.NOTE)
        except OSError as error:
            yield Mistake(place, f"{path} cannot be used: {error.strerror}")
        return


def _secret(settings: Settings) -> Iterator[Mistake]:
    given = settings.server.secret_file
    path, place = given or settings.server.data_dir / "secret", ("server", "secret_file" if given else "data_dir")
    with suppress(FileNotFoundError, NotADirectoryError):  # it will be made, or is told elsewhere
        try:
            Secrets.load(path)
        except SecretError as error:
            yield Mistake(place, str(error))
        except PermissionError:
            yield Mistake(place, f"this user cannot read {path}; the service's must", level=MistakeLevel.NOTE)
        except IsADirectoryError:
            yield Mistake(place, f"{path} is a directory; the secret is a file")


def _sources(settings: Settings) -> Iterator[Mistake]:
    for n, source in enumerate(settings.egress.sources):
        if not source.proxy and (why := bind_fault(source.address)):
            yield Mistake(
                ("egress", "sources", n, "address"),
                f"this machine has no address {source.address} ({why}); add it to an interface",
                level=MistakeLevel.WARNING,
            )


def _low_ports(settings: Settings) -> Iterator[Mistake]:
    least = _least_port()
    if os.geteuid() == 0 or _may_bind_low_ports():
        return
    places: list[tuple[KeyPath, int | None]] = [
        *((("submission", "listeners", n, "port"), each.port) for n, each in enumerate(settings.submission.listeners)),
        *((("reports", "listeners", n, "port"), each.port) for n, each in enumerate(settings.reports.listeners)),
        (("web", "port"), settings.web.port),
        (("web", "public", "port"), settings.web.public.port),
        (("web", "admin", "port"), settings.web.admin.port),
    ]
    for place, port in places:
        if port and port < least:
            text = f"port {port} needs root or CAP_NET_BIND_SERVICE, which this user lacks; the service's needs it"
            yield Mistake(place, text, level=MistakeLevel.NOTE)


def _descriptors(settings: Settings) -> Iterator[Mistake]:
    shares, place = share_out(settings, hard_limit()), ("submission", "limits", "connections")
    if not shares.is_usable:
        yield Mistake(place, f"too few file descriptors: {shares.shown()}")
    elif not shares.is_enough:
        yield Mistake(place, f"started from here, {shares.shown()}", level=MistakeLevel.NOTE)


def _least_port() -> int:
    with suppress(OSError, ValueError):
        return int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text())
    return 1024


def _may_bind_low_ports() -> bool:
    with suppress(OSError, ValueError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("CapEff:"):
                return bool(int(line.split()[1], 16) >> _BIND_LOW_PORTS & 1)
    return False


def public_host(settings: Settings) -> str | None:
    """Return the host of the public pages, as recipients' clients ask for it."""
    with suppress(ValueError):
        return urlsplit(settings.web.public.url or "").hostname
    return None

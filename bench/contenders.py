"""The MTAs under test, each a private instance started for one run and tuned for throughput.

All accept mail on 127.0.0.1, look up MX records at the benchmark's resolver, and deliver to the benchmark's sink.
Queues are durable, as each MTA ships; TLS is off; signatures are RSA-2048, relaxed/relaxed.

Invariants: No MTA is favoured: what was tuned in the others is in their settings below, with the reason in RESULTS.md.
Limitations: The others need root and Debian's packages (``make peers``).
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from bench import programs, relays
from bench.opendkim import Key, OpenDkim
from bench.postfix import Postfix
from bench.relays import Relay
from bench.service import Service, free_port

DOMAIN = "bench.example"

_POSTFIX = {
    "myhostname": "mta.bench.example",
    "default_process_limit": "100",
    "in_flow_delay": "0s",
    "initial_destination_concurrency": "20",
    "default_destination_concurrency_limit": "50",
    "smtpd_client_connection_count_limit": "0",
    "smtpd_client_connection_rate_limit": "0",
    "qmgr_message_active_limit": "40000",
    "qmgr_message_recipient_limit": "40000",
    "max_use": "1000",
    "smtp_connection_cache_on_demand": "no",
}


@dataclass(frozen=True, slots=True)
class Site:
    """The environment of one run: work directory, key, address and port of the resolver, port of the sink."""

    directory: Path
    key: Key
    resolver: str
    resolver_port: int
    sink_port: int
    workers: int | None = None
    environment: Mapping[str, str] = field(default_factory=dict)


class Contender(Protocol):
    """An MTA under test. ``roots``: the processes whose trees are measured."""

    port: int

    def start(self) -> None: ...
    def stop(self) -> None: ...
    def roots(self) -> list[int]: ...
    def output(self) -> str: ...


class Ours:
    """The service, signing, with its own PostgreSQL."""

    def __init__(self, site: Site, name: str = "imprimatur") -> None:
        directory = site.directory / name
        shutil.rmtree(directory, ignore_errors=True)
        self.service = Service(directory, _settings(site))
        self.port = self.service.port

    def start(self) -> None:
        """Start the service, prepared at the first time."""
        if not self.service.config.exists():
            self.prepare()
        self.service.start()

    def prepare(self) -> None:
        """Write the configuration and make the account that sends."""
        self.service.configure()
        self.service.cli("account", "add", "bench", "--domain", DOMAIN, "--network", "127.0.0.0/8",
                         "--approve", "a benchmark", "--verified", "--bounce-notifications", "none")  # fmt: skip

    def stop(self) -> None:
        self.service.stop()

    def roots(self) -> list[int]:
        return self.service.roots()

    def output(self) -> str:
        return self.service.output()


class PlainPostfix:
    """Postfix, not signing."""

    def __init__(self, site: Site, name: str = "postfix") -> None:
        self.port = free_port()
        settings = {**_POSTFIX, "smtp_tcp_port": str(site.sink_port)}
        self.postfix = Postfix(site.directory / name, self.port, settings, {"/etc/resolv.conf": _resolv(site)})

    def start(self) -> None:
        self.postfix.start()

    def stop(self) -> None:
        self.postfix.stop()

    def roots(self) -> list[int]:
        return [_pid(self.postfix.process)]

    def output(self) -> str:
        return self.postfix.output()


class SigningPostfix(PlainPostfix):
    """Postfix with OpenDKIM as its milter, the usual combination."""

    def __init__(self, site: Site) -> None:
        super().__init__(site, "postfix-dkim")
        self.signer = OpenDkim(site.directory / "opendkim", site.key, sign=True)
        self.postfix.settings = {**self.postfix.settings, **self.signer.milter}

    def start(self) -> None:
        self.signer.start()
        super().start()

    def stop(self) -> None:
        super().stop()
        self.signer.stop()

    def roots(self) -> list[int]:
        return [*super().roots(), _pid(self.signer.process)]


class Peer:
    """Exim, OpenSMTPD or Haraka, signing."""

    def __init__(self, site: Site, relay: type[Relay]) -> None:
        self.port = free_port()
        self.relay = relay(site.directory / relay.__name__.lower(), self.port, _resolv(site), site.key)

    def start(self) -> None:
        self.relay.start()

    def stop(self) -> None:
        self.relay.stop()

    def roots(self) -> list[int]:
        return [_pid(self.relay.process)]

    def output(self) -> str:
        return self.relay.output()


@dataclass(frozen=True, slots=True)
class Entry:
    """A contender by name. ``missing``: why it cannot run here, or None."""

    name: str
    title: str
    make: Callable[[Site], Contender]
    missing: str | None


def entries() -> list[Entry]:
    """Return those that ``make bench`` measures, in the order of the tables."""
    return [
        Entry("ours", "Imprimatur, DKIM", Ours, None),
        Entry("postfix", "Postfix, no DKIM", PlainPostfix, programs.missing("master", "smtpd")),
        Entry("opendkim", "Postfix + OpenDKIM", SigningPostfix, programs.missing("master", "smtpd", "opendkim")),
    ]


def peers() -> list[Entry]:
    """Return the others that ``make bench-peers`` measures. They deliver to port 25 only."""
    opensmtpd = programs.missing("smtpctl", "filter-dkimsign")
    return [
        Entry("exim", "Exim, DKIM", lambda site: Peer(site, relays.Exim), programs.missing("exim4")),
        Entry("opensmtpd", "OpenSMTPD, DKIM", lambda site: Peer(site, relays.OpenSmtpd), opensmtpd),
        Entry("haraka", "Haraka, DKIM", lambda site: Peer(site, relays.Haraka), relays.haraka_missing()),
    ]


def make_key(directory: Path, domain: str = DOMAIN) -> Key:
    """Create an RSA-2048 key in ``directory``."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    path = directory / "dkim.pem"
    path.touch(mode=0o600)
    form = serialization.PrivateFormat.TraditionalOpenSSL
    path.write_bytes(key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()))
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    text = "".join(public.decode().split("\n")[1:-2])
    return Key(domain, "bench", path, f"v=DKIM1; k=rsa; p={text}")


def _settings(site: Site) -> dict[str, Any]:
    server = {"workers": site.workers} if site.workers else {}
    return {
        "server": server,
        "signing": {"keys": [{"domain": DOMAIN, "selector": site.key.selector, "file": str(site.key.private)}]},
        "dns": {"servers": [f"{site.resolver}:{site.resolver_port}"]},
        "egress": {"ipv6": False},
        "testing": {"receiver_port": site.sink_port, "loopback_receivers": True},
        "shaping": {"default": {"connections": 20, "initial_connections": 20, "tls": "none"}},
    }


def _resolv(site: Site) -> Path:
    path = site.directory / "resolv.conf"
    path.write_text(f"nameserver {site.resolver}\n")
    return path


def _pid(process: subprocess.Popen[bytes] | None) -> int:
    assert process, "not started"
    return process.pid

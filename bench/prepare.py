"""``python -m bench.prepare DIRECTORY KIND``: a service that is ready for a benchmark of someone else's.

It has the account ``bench``, which sends from ``bench.example`` without login, and signs with the given key. With
``marketing`` it has all that a newsletter needs (see ``bench.marketing``), consents of ``userN@dMM.example``, and the
newsletters to send in ``newsletter-10k`` and ``newsletter-60k``: without To, Subject, Date and Message-ID, with doubled
dots. The command that serves it is printed.

Limitations: port 25 of the receivers if ``--receiver-port`` does not say otherwise.
"""

from __future__ import annotations

import argparse
import re
import shlex
from pathlib import Path

from bench.contenders import DOMAIN, Ours, Site, make_key
from bench.marketing import OursMarketing, content
from bench.opendkim import Key
from bench.service import MTA

_OWN = re.compile(rb"(?i)^(?:To|Subject|Date|Message-ID):[^\r]*\r\n", re.MULTILINE)


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.prepare", description=__doc__.split("\n\n")[0])
    parser.add_argument("directory", type=Path)
    parser.add_argument("kind", choices=["transactional", "marketing"])
    parser.add_argument("--port", type=int, default=2510, help="of submission (2510)")
    parser.add_argument("--web-port", type=int, default=8099, help="of /readyz (8099)")
    parser.add_argument("--key", type=Path, help="RSA key to sign with, in PEM (default: a new one)")
    parser.add_argument("--selector", default="sel", help="selector of the key (sel)")
    parser.add_argument("--dns", default="127.0.0.53:53", help="name server (127.0.0.53:53)")
    parser.add_argument("--receiver-port", type=int, default=25, help="of all receivers (25)")
    parser.add_argument("--consents", type=int, default=20_000, help="recipients who have agreed (20000)")
    chosen = parser.parse_args()
    directory: Path = chosen.directory.absolute()
    directory.mkdir(parents=True, exist_ok=True)
    print(prepare(directory, chosen))


def prepare(directory: Path, chosen: argparse.Namespace) -> str:
    """Prepare the service; return the command that runs it."""
    key = Key(DOMAIN, chosen.selector, chosen.key.absolute(), "") if chosen.key else make_key(directory)
    address, _, port = chosen.dns.rpartition(":")
    site = Site(directory, key, address, int(port), chosen.receiver_port)
    ours = OursMarketing(site, chosen.consents) if chosen.kind == "marketing" else Ours(site)
    ours.service.port, ours.service.web_port = chosen.port, chosen.web_port
    ours.prepare()
    if chosen.kind == "marketing":
        for kilobytes in (10, 60):
            (directory / f"newsletter-{kilobytes}k").write_bytes(body(kilobytes * 1024))
    return shlex.join([*MTA, "serve", "--config", str(ours.service.config)])


def body(size: int) -> bytes:
    """Return a newsletter without the fields that the sender of the benchmark writes itself."""
    head, _, text = content(size).partition(b"\r\n\r\n")
    return _OWN.sub(b"", head + b"\r\n") + b"\r\n" + text.replace(b"\r\n.", b"\r\n..")


if __name__ == "__main__":
    main()

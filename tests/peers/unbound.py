"""A private unbound that serves a signed root zone of its own and validates what it serves.

The root zone holds every name but those of ``UNSIGNED``, a zone below it without a DS record: what is there is insecure
and not bogus, as with most domains.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import dns.dnssec
import dns.name
import dns.zone
from cryptography.hazmat.primitives.asymmetric import ec

from bench import programs
from bench.postfix import stop, wait_for_port

UNSIGNED = "plain.example"
_ADDRESS = "127.0.0.1"
_START = "@ 300 IN SOA ns.example. host.example. 1 3600 600 86400 60\n@ 300 IN NS ns.example.\n"
_CONFIGURATION = """\
server:
    directory: "{directory}"
    chroot: ""
    username: ""
    pidfile: ""
    use-syslog: no
    do-daemonize: no
    interface: {address}@{port}
    access-control: 127.0.0.0/8 allow
    do-ip6: no
    num-threads: 1
    module-config: "validator iterator"
    trust-anchor-file: "{directory}/anchor"
    harden-dnssec-stripped: yes
remote-control:
    control-enable: no
auth-zone:
    name: "."
    zonefile: "{directory}/root.zone"
    for-downstream: no
    for-upstream: yes
auth-zone:
    name: "{unsigned}"
    zonefile: "{directory}/unsigned.zone"
    for-downstream: no
    for-upstream: yes
"""


class Unbound:
    """``records``: lines of a zone file with whole names; ``tampered``: what takes their place after the signing."""

    def __init__(self, directory: Path, port: int) -> None:
        self.directory, self.port = directory, port
        self._process: subprocess.Popen[bytes] | None = None
        directory.mkdir()

    def start(self, records: str, tampered: str = "") -> None:
        """Sign and serve ``records``, instead of what it served before. Raises RuntimeError if it does not start."""
        self.stop()
        self._write_zones(records, tampered)
        configuration = self.directory / "unbound.conf"
        configuration.write_text(
            _CONFIGURATION.format(directory=self.directory, address=_ADDRESS, port=self.port, unsigned=UNSIGNED)
        )
        program = programs.find("unbound")
        assert program, "unbound is not installed"
        output = self.directory / "output"
        with output.open("wb") as log:
            self._process = subprocess.Popen(
                [program, "-d", "-p", "-c", configuration], env=programs.environment(), stdout=log, stderr=log
            )
        wait_for_port(self._process, _ADDRESS, self.port, lambda: output.read_text(errors="replace")[-2000:])

    def stop(self) -> None:
        stop(self._process)
        self._process = None

    def _write_zones(self, records: str, tampered: str) -> None:
        lines = [line.strip() for line in records.splitlines() if line.strip()]
        unsigned = [line for line in lines if line.split()[0].rstrip(".").endswith(UNSIGNED)]
        (self.directory / "unsigned.zone").write_text(f"$ORIGIN {UNSIGNED}.\n{_START}" + "\n".join(unsigned) + "\n")
        signed = [line for line in lines if line not in unsigned] + [f"{UNSIGNED}. 300 IN NS ns.example."]
        zone = dns.zone.from_text(_START + "\n".join(signed), origin=dns.name.root, relativize=False)
        key = ec.generate_private_key(ec.SECP256R1())
        public = dns.dnssec.make_dnskey(key.public_key(), dns.dnssec.Algorithm.ECDSAP256SHA256, flags=257)
        dns.dnssec.sign_zone(zone, keys=[(key, public)], lifetime=3600)
        forged = dns.zone.from_text(tampered, origin=dns.name.root, relativize=False, check_origin=False)
        for name, records_there in forged.iterate_rdatasets():
            zone.replace_rdataset(name, records_there)
        (self.directory / "root.zone").write_text(zone.to_text(relativize=False))
        (self.directory / "anchor").write_text(f". IN DNSKEY {public.to_text()}\n")

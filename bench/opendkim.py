"""A private OpenDKIM on a Unix socket, the milter of a private Postfix: it signs outgoing or verifies incoming mail.

Invariants: /etc/opendkim.conf is not read and no name server outside this machine is queried.
Limitations: One key.
"""

from __future__ import annotations

import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from bench import programs
from bench.postfix import stop


@dataclass(frozen=True, slots=True)
class Key:
    """A signing key. ``record``: its TXT record at ``selector._domainkey.domain``."""

    domain: str
    selector: str
    private: Path
    record: str


@dataclass
class OpenDkim:
    """``sign``: sign with ``key``, else verify and add Authentication-Results."""

    directory: Path
    key: Key
    sign: bool
    process: subprocess.Popen[bytes] | None = None

    @property
    def socket(self) -> Path:
        return self.directory / "milter"

    @property
    def milter(self) -> dict[str, str]:
        """The settings for Postfix's main.cf."""
        return {"smtpd_milters": f"unix:{self.socket}", "milter_default_action": "tempfail", "milter_protocol": "6"}

    def start(self) -> None:
        """Run it until ``stop``. Raises RuntimeError if it does not start within 20 s."""
        shutil.rmtree(self.directory, ignore_errors=True)
        self.directory.mkdir(parents=True)
        daemon = programs.find("opendkim")
        assert daemon, "OpenDKIM is not installed"
        configuration = self.directory / "opendkim.conf"
        settings = {"Socket": f"local:{self.socket}", "UMask": "000", "Syslog": "no", "Mode": "v"}
        settings |= {"RequireSafeKeys": "no"}  # the key may lie in a temporary directory
        if self.sign:
            settings |= {"Mode": "s", "Canonicalization": "relaxed/relaxed", "SignatureAlgorithm": "rsa-sha256"}
            settings |= {"Domain": self.key.domain, "Selector": self.key.selector, "KeyFile": str(self.key.private)}
        else:
            keys = self.directory / "keys"
            keys.write_text(f"{self.key.selector}._domainkey.{self.key.domain} {self.key.record}\n")
            settings |= {"TestDNSData": str(keys), "AlwaysAddARHeader": "yes", "AuthservID": "verifier.example"}
        configuration.write_text("".join(f"{name} {value}\n" for name, value in settings.items()))
        output = self.directory / "output"
        with output.open("wb") as file:
            self.process = subprocess.Popen(
                [str(daemon), "-f", "-x", str(configuration)],
                env=programs.environment(),
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
            )
        deadline = time.monotonic() + 20
        while not self.socket.is_socket():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"OpenDKIM does not start: {output.read_text(errors='replace')}")
            time.sleep(0.05)

    def stop(self) -> None:
        stop(self.process, patience=0.5)  # it takes five seconds to end, and has nothing to lose
        self.process = None

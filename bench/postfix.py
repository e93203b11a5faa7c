"""A private Postfix with its own configuration, queue, port and log, run by its own ``master`` as our child process.

Invariants: /etc/postfix is not read and the system's queue is not touched.
Limitations: Uses Debian's ``news`` and ``uucp`` users if ``postfix`` and ``postdrop`` do not exist, as no user is
added.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bench import programs

_QUEUES = (
    *("active", "bounce", "corrupt", "defer", "deferred", "flush", "hold"),
    *("incoming", "maildrop", "private", "public", "saved", "trace"),
)
_SERVICES = """\
{address}:{port} inet n - n - - smtpd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
local unix - n n - - local
virtual unix - n n - - virtual
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
tlsmgr unix - - n 1000? 1 tlsmgr
postlog unix-dgram n - n - 1 postlogd
"""
_SETTINGS = {
    "compatibility_level": "3.6",
    "inet_protocols": "ipv4",
    "inet_interfaces": "127.0.0.1",  # it must be an interface's own; where to listen is in master.cf
    "biff": "no",
    "mynetworks": "127.0.0.0/8",
    "smtpd_peername_lookup": "no",
    "smtpd_relay_restrictions": "permit_mynetworks, reject",
    "alias_maps": "",
    "alias_database": "",
    "local_recipient_maps": "",
    "mydestination": "",
    "smtpd_tls_security_level": "none",
    "smtp_tls_security_level": "none",
    "smtp_host_lookup": "dns",
}


@dataclass
class Postfix:
    """``settings`` are added to those that make it private. ``files``: replacements that it sees for system files."""

    directory: Path
    port: int
    settings: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, Path] = field(default_factory=dict)
    address: str = "127.0.0.1"
    process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> Path:
        return self.directory / "log" / "postfix.log"

    def start(self) -> None:
        """Run it until ``stop``. Raises RuntimeError with the end of its log if it does not start within 20 s."""
        self._lay_out()
        master = programs.find("master")
        assert master, "Postfix is not installed"
        environment = {**programs.environment(), "MAIL_CONFIG": str(self.directory / "config")}
        command = programs.with_files(self.files, [str(master), "-c", str(self.directory / "config"), "-d"])
        with (self.directory / "output").open("wb") as output:
            self.process = subprocess.Popen(
                command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,  # it ends its whole process group when it is told to stop
            )
        wait_for_port(self.process, self.address, self.port, self.output)

    def stop(self) -> None:
        stop(self.process)
        self.process = None

    def output(self) -> str:
        """Return the end of its log."""
        texts = (path.read_text(errors="replace") for path in (self.directory / "output", self.log) if path.is_file())
        return "\n".join(texts)[-4000:]

    def _lay_out(self) -> None:
        daemons = programs.find("master")
        commands = programs.find("postconf")
        assert daemons, "Postfix is not installed"
        assert commands, "Postfix is not installed"
        owner, group = _owner(("postfix", "news")), _owner(("postdrop", "uucp"))
        root = commands.parent.parent.parent
        shutil.rmtree(self.directory, ignore_errors=True)
        for folder in ("config", "queue/pid", "log"):
            (self.directory / folder).mkdir(parents=True)
        for folder in (*(f"queue/{name}" for name in _QUEUES), "data"):
            (self.directory / folder).mkdir()
            os.chown(self.directory / folder, pwd.getpwnam(owner).pw_uid, -1)
            (self.directory / folder).chmod(0o700)
        (self.directory / "queue/public").chmod(0o710)
        settings = {
            **_SETTINGS,
            "queue_directory": str(self.directory / "queue"),
            "data_directory": str(self.directory / "data"),
            "daemon_directory": str(daemons.parent),
            "command_directory": str(commands.parent),
            "shlib_directory": str(root / "usr/lib/postfix"),
            "meta_directory": str(root / "etc/postfix"),
            "mail_owner": owner,
            "setgid_group": group,
            "default_privs": "nobody",
            "maillog_file": str(self.log),
            "maillog_file_prefixes": str(self.directory),
            "import_environment": "MAIL_CONFIG TZ LANG=C POSTLOG_SERVICE POSTLOG_HOSTNAME LD_LIBRARY_PATH",
            **self.settings,
        }
        lines = "".join(f"{name} = {value}\n" for name, value in settings.items())
        (self.directory / "config/main.cf").write_text(lines)
        (self.directory / "config/master.cf").write_text(_SERVICES.format(address=self.address, port=self.port))


def _owner(names: tuple[str, ...]) -> str:
    known = {entry.pw_name for entry in pwd.getpwall()}
    return next(name for name in names if name in known)


def wait_for_port(process: subprocess.Popen[bytes], address: str, port: int, output: object = None) -> None:
    """Wait until something listens there. Raises RuntimeError if ``process`` ends first, or after 20 s."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and process.poll() is None:
        try:
            socket.create_connection((address, port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.05)
    said = output() if callable(output) else ""
    raise RuntimeError(f"{process.args!r} does not listen on {address}:{port}\n{said}")


def stop(process: subprocess.Popen[bytes] | None, patience: float = 15) -> None:
    """Stop a child: SIGTERM, then SIGKILL if it has not ended within ``patience`` seconds."""
    if process is None or process.poll() is not None:
        return
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(patience)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()

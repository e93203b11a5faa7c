"""A private Exim that takes mail for one domain into a maildir, run as our child.

It must never read /etc/exim4 or touch the system's spool.

*Limits.* Needs root: Exim insists on an account called Debian-exim, which a private /etc/passwd gives it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from bench import programs
from bench.postfix import stop, wait_for_port

_ACCOUNT = "Debian-exim:x:{uid}:{gid}::/nonexistent:/usr/sbin/nologin\n"
_GROUP = "Debian-exim:x:{gid}:\n"
_UID = 65533

_CONFIGURATION = """\
primary_hostname = exim.peer.example
exim_path = {program}
local_interfaces = {address}
daemon_smtp_ports = {port}
spool_directory = {directory}/spool
log_file_path = {directory}/log/%slog
pid_file_path = {directory}/pid
keep_environment = LD_LIBRARY_PATH
add_environment = PATH=/usr/bin:/bin
never_users =
host_lookup =
rfc1413_hosts =
dkim_verify_signers =
message_size_limit = 50M
acl_smtp_rcpt = take
acl_smtp_data = take

begin acl
take:
  accept

begin routers
everybody:
  driver = accept
  domains = {domain}
  transport = maildir

begin transports
maildir:
  driver = appendfile
  maildir_format
  directory = {directory}/mail
  user = Debian-exim
  delivery_date_add = false
  envelope_to_add = false
  return_path_add = true
"""


@dataclass
class Exim:
    """Takes everything for ``domain``."""

    directory: Path
    port: int
    domain: str
    address: str = "127.0.0.1"
    process: subprocess.Popen[bytes] | None = None

    @property
    def mail(self) -> Path:
        return self.directory / "mail"

    def start(self) -> None:
        """Run it until ``stop``. Raises RuntimeError with its log if it does not come up within 20 s."""
        program = programs.find("exim4")
        assert program, "Exim is not installed"
        shutil.rmtree(self.directory, ignore_errors=True)
        for folder in ("spool", "log", "mail"):
            (self.directory / folder).mkdir(parents=True)
            os.chown(self.directory / folder, _UID, _UID)
        configuration = self.directory / "exim.conf"
        configuration.write_text(
            _CONFIGURATION.format(
                program=program, address=self.address, port=self.port, directory=self.directory, domain=self.domain
            )
        )
        command = programs.with_files(self._accounts(), [str(program), "-C", str(configuration), "-bdf"])
        with (self.directory / "output").open("wb") as output:
            self.process = subprocess.Popen(
                command,
                env=programs.environment(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        wait_for_port(self.process, self.address, self.port, self.output)

    def stop(self) -> None:
        stop(self.process)
        self.process = None

    def output(self) -> str:
        """The end of what it has logged."""
        paths = [self.directory / "output", *(self.directory / "log").glob("*")]
        return "\n".join(path.read_text(errors="replace") for path in paths)[-4000:]

    def _accounts(self) -> dict[str, Path]:
        """The system's accounts and Exim's own."""
        files = {}
        for name, line in (("passwd", _ACCOUNT), ("group", _GROUP)):
            text = Path("/etc", name).read_text()
            path = self.directory / name
            path.write_text(text if "Debian-exim:" in text else text + line.format(uid=_UID, gid=_UID))
            files[f"/etc/{name}"] = path
        return files

"""Private Exim, OpenSMTPD and Haraka that relay what they get, run as our child processes.

All three sign with the benchmark's key. They look up MX records at the name server that their own view of
/etc/resolv.conf names, and deliver to port 25: Haraka and OpenSMTPD know no other.

Invariants: no file of the system is written; accounts that a program insists on are in files that it alone sees.
Limitations: root. Exim and OpenSMTPD from Debian's packages (``make peers``); Haraka from npm, below ``.peers/haraka``.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from bench import programs
from bench.opendkim import Key
from bench.postfix import stop, wait_for_port

HARAKA = programs.UNPACKED.parent / "haraka" / "node_modules" / "Haraka"
_FIRST_ID = 65520  # of the accounts that exist only in the view of these programs
_SIGNED = "From:To:Subject:Date:Message-ID:MIME-Version:Content-Type:Content-Transfer-Encoding"


@dataclass
class Relay(ABC):
    """One of them. ``resolv``: the file that it sees as /etc/resolv.conf."""

    directory: Path
    port: int
    resolv: Path
    key: Key
    process: subprocess.Popen[bytes] | None = None

    accounts: ClassVar[tuple[str, ...]] = ()  # names of users and groups, the first of which owns the folders
    folders: ClassVar[tuple[str, ...]] = ()

    def start(self) -> None:
        """Run it until ``stop``. Raises RuntimeError with its output if it does not listen within 20 s."""
        shutil.rmtree(self.directory, ignore_errors=True)
        for folder in ("", *self.folders):
            (self.directory / folder).mkdir(parents=True)
            os.chown(self.directory / folder, _FIRST_ID if self.accounts else 0, _FIRST_ID if self.accounts else 0)
        command = self.lay_out(self._files())
        with (self.directory / "output").open("wb") as output:
            self.process = subprocess.Popen(
                command,
                env={**programs.environment(), **self.environment()},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        wait_for_port(self.process, "127.0.0.1", self.port, self.output)

    @abstractmethod
    def lay_out(self, files: Mapping[str, Path]) -> Sequence[str]:
        """Write the configuration; return the command that runs it in the foreground, which sees ``files``."""

    def environment(self) -> dict[str, str]:
        return {}

    def stop(self) -> None:
        stop(self.process)
        self.process = None

    def output(self) -> str:
        """Return the end of what it has printed and logged."""
        paths = [self.directory / "output", *sorted((self.directory / "log").glob("*"))]
        return "\n".join(path.read_text(errors="replace")[-2000:] for path in paths)[-4000:]

    def private_key(self, owner: int) -> Path:
        """Return a copy of the key that ``owner`` can read."""
        path = self.directory / "dkim.key"
        path.touch(mode=0o600)
        path.write_bytes(self.key.private.read_bytes())
        os.chown(path, owner, owner)
        return path

    def _files(self) -> dict[str, Path]:
        """Return what it sees in place of the system's: its name server, and the accounts that it insists on."""
        files = {"/etc/resolv.conf": self.resolv}
        for name, line in (("passwd", "{0}:x:{1}:{1}::/nonexistent:/usr/sbin/nologin\n"), ("group", "{0}:x:{1}:\n")):
            kept = [each for each in Path("/etc", name).read_text().splitlines(keepends=True)
                    if each.partition(":")[0] not in self.accounts]  # fmt: skip
            own = [line.format(account, _FIRST_ID + n) for n, account in enumerate(self.accounts)]
            files[f"/etc/{name}"] = self.directory / name
            files[f"/etc/{name}"].write_text("".join([*kept, *own]))
        return files


class Exim(Relay):
    accounts: ClassVar[tuple[str, ...]] = ("Debian-exim",)
    folders: ClassVar[tuple[str, ...]] = ("spool", "log")

    def lay_out(self, files: Mapping[str, Path]) -> Sequence[str]:
        program = programs.find("exim4")
        assert program, "Exim is not installed"
        configuration = self.directory / "exim.conf"
        configuration.write_text(
            _EXIM.format(program=program, port=self.port, directory=self.directory, key=self.private_key(_FIRST_ID),
                         domain=self.key.domain, selector=self.key.selector, signed=_SIGNED)
        )  # fmt: skip
        return programs.with_files(files, [str(program), "-C", str(configuration), "-bdf", "-q1m"])


class OpenSmtpd(Relay):
    accounts: ClassVar[tuple[str, ...]] = ("opensmtpd", "opensmtpq", "_dkimsign")
    folders: ClassVar[tuple[str, ...]] = ("spool", "root")

    def lay_out(self, files: Mapping[str, Path]) -> Sequence[str]:
        program, filter = programs.find("smtpd"), programs.find("filter-dkimsign")
        assert program, "OpenSMTPD is not installed"
        assert filter, "its signing filter is not installed"
        os.chown(self.directory, 0, 0)
        os.chown(self.directory / "spool", 0, 0)
        (self.directory / "spool").chmod(0o711)
        libraries = programs.environment()["LD_LIBRARY_PATH"]
        sign = f"/usr/bin/env LD_LIBRARY_PATH={libraries} {filter} -a rsa-sha256 -c relaxed/relaxed"
        sign += f" -d {self.key.domain} -s {self.key.selector} -k {self.private_key(_FIRST_ID + 2)}"
        configuration = self.directory / "smtpd.conf"
        configuration.write_text(_OPENSMTPD.format(sign=sign, port=self.port))
        binds = [f"mount --bind {ours} {self.directory}/root{name}" for name, ours in files.items()]
        script = " && ".join([
            f"mount --rbind / {self.directory}/root", f"cd {self.directory}/root",
            "mount -t tmpfs none var", "mount -t tmpfs none run",
            "mkdir -p var/lib/opensmtpd/empty var/spool/smtpd var/mail", "ln -s /run var/run",
            f"mount --bind {self.directory}/spool var/spool/smtpd", *binds, 'exec chroot . "$@"',
        ])  # fmt: skip
        unshare = shutil.which("unshare") or "unshare"
        run = [str(program), "-d", "-f", str(configuration)]
        return [unshare, "--mount", "--", "sh", "-c", script, "sh", *run]


class Haraka(Relay):
    folders: ClassVar[tuple[str, ...]] = ("config", "queue", "plugins")

    def lay_out(self, files: Mapping[str, Path]) -> Sequence[str]:
        shipped = (HARAKA / "config" / "connection.ini").read_text()
        large = [line if not line.startswith("bytes=") else "bytes=52428800" for line in shipped.splitlines()]
        for name, text in {**_HARAKA, "connection.ini": "\n".join(large)}.items():
            text = text.replace("PORT", str(self.port)).replace("CORES", str(len(os.sched_getaffinity(0))))
            text = text.replace("DOMAIN", self.key.domain).replace("SELECTOR", self.key.selector)
            (self.directory / "config" / name).write_text(text.replace("SIGNED", _SIGNED.replace(":", ", ")))
        shutil.copy(self.key.private, self.directory / "config" / "dkim.private.key")
        (self.directory / "node_modules").symlink_to(HARAKA.parent)
        node = shutil.which("node") or "node"
        return programs.with_files(files, [node, str(HARAKA / "bin" / "haraka"), "-c", str(self.directory)])

    def environment(self) -> dict[str, str]:
        return {"HARAKA": str(self.directory), "LD_LIBRARY_PATH": ""}


def haraka_missing() -> str | None:
    """Return why Haraka cannot run here; None if it can."""
    if not HARAKA.is_dir() or not shutil.which("node"):
        return (
            f"not installed: npm install --prefix {HARAKA.parent.parent} Haraka haraka-plugin-dkim haraka-plugin-relay"
        )
    return None if os.geteuid() == 0 else "a private /etc/resolv.conf needs root"


_EXIM = """\
primary_hostname = exim.peer.example
exim_path = {program}
local_interfaces = 127.0.0.1
daemon_smtp_ports = {port}
disable_ipv6 = true
spool_directory = {directory}/spool
log_file_path = {directory}/log/%slog
pid_file_path = {directory}/pid
keep_environment = LD_LIBRARY_PATH
add_environment = PATH=/usr/bin:/bin
never_users =
host_lookup =
rfc1413_hosts =
tls_advertise_hosts =
chunking_advertise_hosts =
dsn_advertise_hosts =
message_size_limit = 60M
acl_smtp_rcpt = take
split_spool_directory = true
message_logs = false
smtp_accept_max = 200
smtp_accept_max_per_connection = 0
smtp_accept_queue_per_connection = 0
smtp_connect_backlog = 200
smtp_reserve_hosts =
queue_run_max = 8
remote_max_parallel = 4

begin acl
take:
  accept control = dkim_disable_verify

begin routers
out:
  driver = dnslookup
  transport = out
  self = send
  no_more

begin transports
out:
  driver = smtp
  hosts_avoid_tls = *
  hosts_try_chunking =
  hosts_try_dane =
  hosts_try_fastopen =
  connection_max_messages = 500
  dkim_domain = {domain}
  dkim_selector = {selector}
  dkim_private_key = {key}
  dkim_canon = relaxed
  dkim_hash = sha256
  dkim_sign_headers = {signed}

begin retry
* * F,2h,15m; G,16h,1h,1.5; F,4d,6h
"""
_OPENSMTPD = """\
filter "dkim" proc-exec "{sign}" user _dkimsign group _dkimsign
smtp max-message-size 60M
smtp limit max-mails 100000
scheduler limit max-inflight 5000
scheduler limit max-evp-batch-size 256
scheduler limit max-msg-batch-size 1024
scheduler limit max-schedule 10000
mta limit max-conn-per-host 100
mta limit max-conn-per-route 100
mta limit max-conn-per-relay 100
mta limit max-conn-per-domain 100
mta limit max-conn-per-connector 200
mta limit max-conn-per-source 500
mta limit session-mail-max 1000
mta limit conn-delay-route 0
mta limit conn-delay-relay 0
mta limit reconn-delay-route 0
mta limit task-hiwat 20000
mta limit task-lowat 10000
mta limit task-release 5000
listen on 127.0.0.1 port {port} hostname peer.bench.example filter "dkim"
action "out" relay helo peer.bench.example
match from any for any action "out"
"""
_HARAKA = {
    "me": "peer.bench.example\n",
    "smtp.ini": "listen=127.0.0.1:PORT\nnodes=CORES\ninactivity_timeout=300\n",
    "outbound.ini": "enable_tls=false\nlocal_mx_ok=true\nconcurrency_max=200\ninet_prefer=v4\n",
    "relay.ini": "[relay]\nacl=true\n",
    "relay_acl_allow": "127.0.0.0/8\n",
    "log.ini": "[main]\nlevel=notice\ntimestamps=true\n",
    "plugins": "relay\ndkim\n",
    "dkim.ini": "[sign]\nenabled=true\nselector=SELECTOR\ndomain=DOMAIN\nheaders=SIGNED\n"
    "[canon]\nbody=relaxed\n[verify]\nenabled=false\n",
}

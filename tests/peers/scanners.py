"""A private rspamd and a private clamd, run as our children, each with a few rules of its own.

Neither has its usual rules or signatures, so that nothing is fetched and nothing depends on the day: rspamd knows
GTUBE (which is built in), the labels that ship with us and what ``_RULES`` says, clamd knows EICAR's test file by its
MD5.

It must never read /etc/rspamd or /etc/clamav, or ask a name server.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench import programs
from bench.postfix import stop, wait_for_port

NOBODY = 65534

_RSPAMD = """\
options {{
  filters = "";
  tempdir = "{directory}";
  cache_file = "{directory}/symbols.cache";
  hs_cache_dir = "{directory}/";
  stats_file = "{directory}/stats.ucl";
  control_socket = "{directory}/control mode=0600";
  url_tld = "{directory}/suffixes";
  dns {{ nameserver = ["127.0.0.1:9"]; timeout = 0.1s; retransmits = 1; }}
}}
logging {{ type = "console"; level = "info"; }}
lua = "{directory}/rules.lua";
actions {{ reject = 15; add_header = 6; greylist = 4; }}
worker "normal" {{ bind_socket = "127.0.0.1:{port}"; mime = true; count = 1; }}
"""
_RULES = """\
rspamd_config.ENVELOPE = {  -- shows what it was told
  callback = function(task)
    local from, to = task:get_from('smtp'), task:get_recipients('smtp') or {}
    return true, 1.0, from and from[1].addr or '', tostring(#to), tostring(task:get_from_ip()),
      task:get_helo() or '', task:get_user() or '', tostring(task:get_queue_id())
  end,
  score = 0.5,
}
rspamd_config.ODD = {
  callback = function(task) return task:get_subject() == 'odd' end,
  score = 7.0,
}
rspamd_config.TOO_MANY = {
  callback = function(task)
    if task:get_subject() == 'soon' then task:set_pre_result('soft reject', 'too many at once') end
  end,
  score = 0.0,
}
"""
_LABELS = Path(__file__).parents[2] / "config/rspamd/imprimatur.lua"
_CLAMD = """\
Foreground yes
LogFile {directory}/log
DatabaseDirectory {directory}/signatures
LocalSocket {directory}/socket
LocalSocketMode 666
TCPAddr 127.0.0.1
TCPSocket {port}
StreamMaxLength 1M
MaxThreads 4
"""
_EICAR = "44d88612fea8a8f36de82e1278abb02f:68:Test.EICAR\n"


@dataclass
class Rspamd:
    """``url``: where it is asked."""

    directory: Path
    port: int
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Run it until ``stop``. Raises RuntimeError with its log if it does not come up within 20 s."""
        program = programs.find("rspamd")
        assert program, "rspamd is not installed"
        _own(self.directory)
        configuration = self.directory / "rspamd.conf"
        configuration.write_text(_RSPAMD.format(directory=self.directory, port=self.port))
        (self.directory / "rules.lua").write_text(f"dofile('{_LABELS}')\n{_RULES}")
        (self.directory / "suffixes").write_text("com\nexample\n")
        shared = program.parent.parent / "share" / "rspamd"
        places = {
            "CONFDIR": self.directory,
            "DBDIR": self.directory,
            "RUNDIR": self.directory,
            "SHAREDIR": shared,
            "LUALIBDIR": shared / "lualib",
            "PLUGINSDIR": shared / "plugins",
            "RULESDIR": shared / "rules",
        }
        user = ["-u", "nobody", "-g", "nogroup"] if os.geteuid() == 0 else []
        variables = [f"--var={name}={place}" for name, place in places.items()]
        self.process = _run(self.directory, [str(program), "-f", *user, "-c", str(configuration), *variables])
        wait_for_port(self.process, "127.0.0.1", self.port, lambda: _output(self.directory))

    def stop(self) -> None:
        stop(self.process)
        self.process = None


@dataclass
class Clamd:
    """It listens on ``socket`` and on ``port``, and takes at most 1 MiB."""

    directory: Path
    port: int
    process: subprocess.Popen[bytes] | None = None

    @property
    def socket(self) -> Path:
        return self.directory / "socket"

    def start(self) -> None:
        """Run it until ``stop``. Raises RuntimeError with its log if it does not come up within 20 s."""
        program = programs.find("clamd")
        assert program, "clamd is not installed"
        _own(self.directory)
        (self.directory / "signatures").mkdir()
        (self.directory / "signatures" / "test.hdb").write_text(_EICAR)
        configuration = self.directory / "clamd.conf"
        user = "User nobody\n" if os.geteuid() == 0 else ""
        configuration.write_text(_CLAMD.format(directory=self.directory, port=self.port) + user)
        self.process = _run(self.directory, [str(program), "-c", str(configuration)])
        wait_for_port(self.process, "127.0.0.1", self.port, lambda: _output(self.directory))
        deadline = time.monotonic() + 20
        while not self.socket.is_socket():
            if time.monotonic() > deadline:
                raise RuntimeError(f"clamd makes no socket\n{_output(self.directory)}")
            time.sleep(0.05)

    def stop(self) -> None:
        stop(self.process)
        self.process = None


def _own(directory: Path) -> None:
    """A fresh directory that the daemon may write to, whoever it runs as."""
    directory.mkdir()
    if os.geteuid() == 0:
        os.chown(directory, NOBODY, NOBODY)


def _run(directory: Path, command: Sequence[str]) -> subprocess.Popen[bytes]:
    with (directory / "output").open("wb") as output:
        return subprocess.Popen(
            command,
            cwd=directory,
            env=programs.environment(),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )


def _output(directory: Path) -> str:
    return (directory / "output").read_text(errors="replace")[-4000:]

"""Instructions of the hot functions on fixed inputs, compared with those that were kept: a rise of more than 5 % fails.

    python -m bench.guard [--write]

Instructions are counted by valgrind (callgrind), for this is the same on a busy machine; the counter is switched on
around each function alone. The numbers are in ``bench/guard.json``, with the processor and Python that they hold for.

Limitations: x86-64 only. Without valgrind, or with another Python, nothing is compared, and a line says so. What the
kernel and PostgreSQL do is not counted.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import mmap
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from bench.micro_policy import chain_of, whole, with_reference
from bench.newsletter import facts, newsletter
from config.schema import Limits
from mta.mail.headers import Headers
from mta.smtp_server.message_syntax import message_fault
from policy.mailing.reference import References, compile_reference, source_of
from policy.text.message_text import MessageText

KEPT = Path(__file__).with_name("guard.json")
ALLOWED = 1.05  # times the number that was kept
REPEATED = 5  # calls of each function that are counted
_WARM = 3  # calls before, which fill caches

# VALGRIND_DO_CLIENT_REQUEST of valgrind.h for amd64: rax = the request, rdx = the default answer.
_REQUEST = bytes.fromhex("4889f831d2 48c1c703 48c1c70d 48c1c73d 48c1c733 4887db 4889d0 c3".replace(" ", ""))
_BASE = ord("C") << 24 | ord("T") << 16  # of callgrind.h
_ZERO, _DUMP_AT, _START, _STOP = _BASE + 1, _BASE + 3, _BASE + 4, _BASE + 5


class Counter:
    """Asks the valgrind that this process runs under."""

    def __init__(self) -> None:
        self._page = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
        self._page.write(_REQUEST)
        address = ctypes.addressof(ctypes.c_char.from_buffer(self._page))
        self._call = ctypes.CFUNCTYPE(ctypes.c_uint64, ctypes.c_void_p)(address)

    def ask(self, request: int, argument: int = 0) -> None:
        words = (ctypes.c_uint64 * 6)(request, argument, 0, 0, 0, 0)
        self._call(ctypes.addressof(words))

    def count(self, name: str, work: Callable[[], object]) -> None:
        """Have the instructions of ``REPEATED`` calls written down under ``name``."""
        for _ in range(_WARM):
            work()
        self.ask(_START)
        self.ask(_ZERO)
        for _ in range(REPEATED):
            work()
        text = ctypes.create_string_buffer(name.encode())
        self.ask(_DUMP_AT, ctypes.addressof(text))
        self.ask(_STOP)


def functions() -> dict[str, Callable[[], object]]:
    """Return what is counted, by name."""
    chain = chain_of("csa")
    message, large = newsletter(10_000), newsletter(60_000)
    known = facts(message)
    limits = Limits()
    turns = iter(range(10_000, 100_000))
    references = References((compile_reference(1, source_of(message.content)),))

    content = message.content

    def screened(body: bytes) -> object:
        sent = replace(message, body=body)
        return whole(chain, sent, replace(known, reading=MessageText(message.head + body)))

    def unseen(text: bytes) -> bytes:
        return text.replace(b"<title>", b"<title>%d " % next(turns))

    return {
        "chain, 10 kB, the page of others": lambda: screened(message.body),
        "chain, 60 kB, the page of others": lambda: screened(large.body),
        "chain, 10 kB, its own page": lambda: screened(unseen(message.body)),
        "chain, 60 kB, its own page": lambda: screened(unseen(large.body)),
        "chain, 10 kB, as a reference": lambda: whole(chain, message, with_reference(references, message, known)),
        "header block": lambda: Headers.split(content),
        "message syntax, 10 kB, the body of others": lambda: message_fault(content, limits),
        "message syntax, 10 kB, its own body": lambda: message_fault(unseen(content), limits),
    }


def measured() -> dict[str, int]:
    """Return the instructions of each function, counted in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out"
        counter = ["valgrind", "-q", "--tool=callgrind", "--instr-atstart=no", f"--callgrind-out-file={out}"]
        command = [*counter, sys.executable, "-m", "bench.guard", "--inside"]
        environment = {**os.environ, "PYTHONHASHSEED": "0"}
        subprocess.run(command, check=True, env=environment)
        found = {}
        for path in Path(folder).iterdir():
            text = path.read_text()
            name = re.search(r"^desc: Trigger: Client Request: (.*)$", text, re.MULTILINE)
            total = re.search(r"^(?:summary|totals): (\d+)", text, re.MULTILINE)
            if name and total:
                found[name[1]] = int(total[1]) // REPEATED
    return found


def missing(python: str) -> str:
    """Return why nothing can be counted here, or compared with numbers of another build of ``python``; or ""."""
    if platform.machine() != "x86_64":
        return "instructions are counted on x86-64 only"
    if python not in ("", sys.version):
        return f"the numbers are of Python {python}; this is {sys.version}"
    return "" if shutil.which("valgrind") else "valgrind is not installed"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="keep what is counted now")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.inside:
        gc.disable()
        counter = Counter()
        for name, work in functions().items():
            counter.count(name, work)
        return
    kept = json.loads(KEPT.read_text())
    if why := missing("" if options.write else kept["python"]):
        print(f"bench-guard skipped: {why}")
        return
    now = measured()
    if options.write:
        kept = {"python": sys.version, "instructions": dict(sorted(now.items()))}
        KEPT.write_text(json.dumps(kept, indent=1) + "\n")
    lines, risen = compared(kept["instructions"], now)
    print("\n".join(lines))
    if risen:
        sys.exit(f"{', '.join(risen)}: more than {ALLOWED - 1:.0%} above what was kept; --write if that is meant")


def compared(kept: Mapping[str, int], now: Mapping[str, int]) -> tuple[list[str], list[str]]:
    """Return a line for each function, and the names of those that take more, or were not counted."""
    lines, risen = [], []
    for name, count in kept.items():
        ratio = now.get(name, 0) / count
        lines.append(f"{name:36}{count:14,}{now.get(name, 0):14,}{ratio:8.3f}")
        if not 0 < ratio <= ALLOWED:
            risen.append(name)
    return lines, risen


if __name__ == "__main__":
    main()

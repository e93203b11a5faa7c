"""Asks the scanners about a message: rspamd and ClamAV, each if it is given an address, both at once.

``Scanners.scan`` puts bounds around a question to a scanner: how large a message may be, how long the wait, how many
questions at a time. What cannot be answered ends by the scanner's ``on_failure``: the message is put off (``closed``)
or passes with a note (``open``). The verdict is the rule ``scanned``'s, to which the scans come as facts.

It must never raise for what a scanner does or fails to do, never pass an unscanned message unless told so, and never
wait longer than ``timeout``.

*Limits.* The bound on questions is per process. A scanner that hangs costs every message its whole ``timeout``.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

from config.schema import ContentScanSettings, ScannerSettings
from mta.mail.message import Message
from mta.observe.log import get_logger
from mta.submission.content_scan import ScannerError
from mta.submission.content_scan.clamd import Clamd
from mta.submission.content_scan.rspamd import Rspamd
from policy.base import Scan

AT_ONCE = 8  # questions to one scanner; clamd's own default is 10 threads and up

log = get_logger()


class Asked(Protocol):
    """Something that can be asked about a message: raises ScannerError or OSError if it cannot say."""

    name: str

    async def scan(self, message: Message) -> Scan: ...


class Scanners:
    """The scanners of the settings. It keeps nothing open between messages: drop it for a new one on reload."""

    def __init__(self, settings: ContentScanSettings) -> None:
        self._gates = tuple(
            _Gate(kind(section.address), section)
            for kind, section in ((Rspamd, settings.rspamd), (Clamd, settings.clamav))
            if section.address
        )

    async def scan(self, message: Message) -> tuple[Scan, ...]:
        """One scan per scanner that is on, rspamd's first."""
        return tuple(await asyncio.gather(*(gate.scan(message) for gate in self._gates)))


class _Gate:
    """One scanner within its bounds."""

    def __init__(self, scanner: Asked, settings: ScannerSettings) -> None:
        self._scanner = scanner
        self._settings = settings
        self._room = asyncio.Semaphore(AT_ONCE)

    async def scan(self, message: Message) -> Scan:
        size, limit = len(message.content), self._settings.max_size
        if size > limit:
            return self._unscanned(f"{size} octets are more than its max_size, {limit}")
        try:
            async with asyncio.timeout(self._settings.timeout), self._room:
                return await self._scanner.scan(message)
        except TimeoutError:
            why = f"no answer within {self._settings.timeout:g} s"
        except (ScannerError, OSError) as error:
            why = str(error) or error.__class__.__name__
        except Exception as error:
            log.exception("a scanner's client failed", scanner=self._scanner.name)
            why = error.__class__.__name__
        log.warning("not scanned", scanner=self._scanner.name, why=why)
        return self._unscanned(why)

    def _unscanned(self, why: str) -> Scan:
        if self._settings.on_failure == "closed":
            return Scan(self._scanner.name, failed=why)
        return Scan(self._scanner.name, evidence=f'not scanned: {why}; passes, because on_failure = "open"')

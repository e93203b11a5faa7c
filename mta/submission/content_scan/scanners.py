"""Scan messages with rspamd and ClamAV, each if its address is configured, both at once.

``Scanners.scan`` bounds each request: how large a message may be, how long to wait, how many requests at a time. What
becomes of a message that was not scanned is up to the scanner's ``on_failure``: it is put off (``closed``) or passes
with a note (``open``). The decision is the rule ``scanned``'s, which has the scans as facts.

Invariants: no failure of a scanner is raised. An unscanned message passes only if the settings say so. No scan takes
longer than ``timeout``.

Limitations: requests are bounded per process. A scanner that hangs costs every message its whole ``timeout``.
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

CONCURRENT = 8  # requests to one scanner; clamd's own default is 10 threads and up

log = get_logger()


class ScannerClient(Protocol):
    """Scans a message. Raises ScannerError or OSError if there is no verdict."""

    name: str

    async def scan(self, message: Message) -> Scan: ...


class Scanners:
    """The scanners of the settings. Nothing stays open between messages: a reload makes a new one."""

    def __init__(self, settings: ContentScanSettings) -> None:
        self._scanners = tuple(
            _BoundedScanner(kind(section.address), section)
            for kind, section in ((Rspamd, settings.rspamd), (Clamd, settings.clamav))
            if section.address
        )

    async def scan(self, message: Message) -> tuple[Scan, ...]:
        """Return one scan per configured scanner, rspamd's first."""
        return tuple(await asyncio.gather(*(scanner.scan(message) for scanner in self._scanners)))


class _BoundedScanner:
    """One scanner within its bounds."""

    def __init__(self, scanner: ScannerClient, settings: ScannerSettings) -> None:
        self._scanner = scanner
        self._settings = settings
        self._slots = asyncio.Semaphore(CONCURRENT)

    async def scan(self, message: Message) -> Scan:
        size, limit = len(message.content), self._settings.max_size
        if size > limit:
            return self._unscanned(f"{size} octets are more than max_size, {limit}")
        try:
            async with asyncio.timeout(self._settings.timeout), self._slots:
                return await self._scanner.scan(message)
        except TimeoutError:
            why = f"no answer within {self._settings.timeout:g} s"
        except (ScannerError, OSError) as error:
            why = str(error) or error.__class__.__name__
        except Exception as error:
            log.exception("scan failed", scanner=self._scanner.name)
            why = error.__class__.__name__
        log.warning("message not scanned", scanner=self._scanner.name, why=why)
        return self._unscanned(why)

    def _unscanned(self, why: str) -> Scan:
        if self._settings.on_failure == "closed":
            return Scan(self._scanner.name, failed=why)
        return Scan(self._scanner.name, evidence=f'not scanned: {why}; passes, because on_failure = "open"')

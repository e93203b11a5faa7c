"""Scan messages with rspamd and ClamAV, each if its address is configured, both at once.

``Scanners.scan`` bounds each request: how large a message may be, how long to wait, how many requests at a time. What
becomes of a message that was not scanned is up to the scanner's ``on_failure``: it is put off (``closed``) or passes
with a note (``open``). The decision is the rule ``scanned``'s, which has the scans as facts.

ClamAV's protocol is clamd(8), section COMMANDS: one connection and one ``zINSTREAM`` a message, chunks with their
length before them, an empty chunk; the answer ends with a NUL: ``stream: OK``, ``stream: NAME FOUND`` or ``... ERROR``.

rspamd gets the message by HTTP at ``/checkv2``, with the envelope in headers, and answers with an action. What its
actions mean here (the scores at which it takes them are set in rspamd):

* ``reject``, ``discard``, ``quarantine``: refused. No message is accepted and then discarded.
* ``soft reject``: to be tried again later (its rate limits, its own greylisting).
* ``greylist``, ``add header``, ``rewrite subject``, ``no action``: passes, with the action and the score in the record.
  The client of an outbound service has logged in: making it come back proves nothing, and marks for a spam folder are
  not set on the sender's side.

Invariants: no failure of a scanner is raised. An unscanned message passes only if the settings say so. An answer that
is not understood is a failure. No scan takes longer than ``timeout``.

Limitations: requests are bounded per process. A scanner that hangs costs every message its whole ``timeout``. clamd
reads at most its StreamMaxLength and closes the connection at more, sometimes before its answer can be read; it has no
TLS. Of rspamd neither the password nor the encryption (HTTPCrypt) is supported: it should listen on loopback or a
private network.
"""

from __future__ import annotations

import asyncio
import contextlib
import struct
from typing import Any, Protocol

import msgspec

from config.schema import ContentScanSettings, ScannerSettings
from mta.http_client import HttpClient, HttpError
from mta.mail.identity import format_id
from mta.mail.message import Message
from mta.observe.log import get_logger
from policy.base import Scan

CONCURRENT = 8  # requests to one scanner; clamd's own default is 10 threads and up
LONGEST = 200  # characters of a scanner's own text that are kept
CHUNK = 256 * 1024  # octets sent to clamd at a time
CLAMD_ANSWER = 4096  # octets; longer ones are nonsense
RSPAMD_ANSWER = 1024 * 1024  # octets
RECIPIENTS = 100  # named to rspamd; more would not fit into its header buffer
SYMBOLS = 10  # of rspamd's, named in the evidence

_REFUSING = frozenset({"reject", "discard", "quarantine"})
_LATER = frozenset({"soft reject"})
_PASSING = frozenset({"greylist", "add header", "rewrite subject", "no action"})

_Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]

log = get_logger()


class ScannerError(Exception):
    """Why there is no usable answer, in a few words for the log and the finding."""


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
        if not self._scanners:
            return ()
        return tuple(await asyncio.gather(*(scanner.scan(message) for scanner in self._scanners)))


class _BoundedScanner:
    """One scanner within its bounds."""

    def __init__(self, scanner: ScannerClient, settings: ScannerSettings) -> None:
        self._scanner = scanner
        self._settings = settings
        self._slots = asyncio.Semaphore(CONCURRENT)

    async def scan(self, message: Message) -> Scan:
        size, limit = message.size, self._settings.max_size
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


class Clamd:
    """``address``: ``host:port``, ``[v6]:port``, or the path of a unix socket."""

    name = "clamav"

    def __init__(self, address: str) -> None:
        self._address = address

    async def scan(self, message: Message) -> Scan:
        """Return its verdict on the message. Raises ScannerError, OSError."""
        reader, writer = await self._connect()
        try:
            answer = await _ask_clamd(reader, writer, message)
        finally:
            writer.close()
        return read_clamd_answer(answer)

    async def _connect(self) -> _Streams:
        if self._address.startswith("/"):
            return await asyncio.open_unix_connection(self._address, limit=CLAMD_ANSWER)
        host, _, port = self._address.rpartition(":")
        return await asyncio.open_connection(host.strip("[]"), int(port), limit=CLAMD_ANSWER)


async def _ask_clamd(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, message: Message) -> bytes:
    """Return the answer without its NUL. It may come, and the connection be closed, before all is sent."""
    answer = asyncio.ensure_future(reader.readuntil(b"\0"))
    try:
        with contextlib.suppress(ConnectionError):  # it has stopped reading: its answer says why
            await _send_to_clamd(writer, message, answer)
        return (await answer)[:-1]
    except (asyncio.IncompleteReadError, ConnectionError):
        raise ScannerError("connection closed before an answer") from None
    except asyncio.LimitOverrunError:
        raise ScannerError(f"answer of more than {CLAMD_ANSWER} octets") from None
    finally:
        answer.cancel()


async def _send_to_clamd(writer: asyncio.StreamWriter, message: Message, answer: asyncio.Future[bytes]) -> None:
    writer.write(b"zINSTREAM\0")
    async for piece in message.pieces():
        for start in range(0, len(piece), CHUNK):
            chunk = piece[start : start + CHUNK]
            writer.write(struct.pack(">I", len(chunk)))
            writer.write(chunk)
            await writer.drain()
            await asyncio.sleep(0)  # so that an early answer is read before the next write fails
            if answer.done():
                return
    writer.write(struct.pack(">I", 0))
    await writer.drain()


def read_clamd_answer(answer: bytes) -> Scan:
    """Return what an answer means. Raises ScannerError for anything that is not a verdict."""
    text = printable(answer.decode("ascii", "replace"))
    verdict = text.removeprefix("stream: ")
    if verdict == "OK":
        return Scan(Clamd.name, evidence="OK")
    if verdict.endswith(" FOUND"):
        found = verdict.removesuffix(" FOUND")
        return Scan(Clamd.name, refused=found, evidence=found)
    raise ScannerError(f"unexpected answer: {text or 'empty'}")


class Symbol(msgspec.Struct, frozen=True):
    """One of rspamd's findings."""

    score: float | None = None


class RspamdAnswer(msgspec.Struct, frozen=True):
    """What is read of rspamd's answer (its manual, "Rspamd HTTP protocol")."""

    action: str
    score: float | None = None
    required_score: float | None = None
    symbols: dict[str, Symbol] = {}
    messages: dict[str, Any] = {}


class Rspamd:
    """``address``: its normal worker or proxy, ``http://host:port``."""

    name = "rspamd"

    def __init__(self, address: str) -> None:
        self._url = f"{address.rstrip('/')}/checkv2"

    async def scan(self, message: Message) -> Scan:
        """Return its verdict on the message. Raises ScannerError."""
        client = HttpClient(timeout=None, allow_private=True, keep_alive=False)  # rspamd closes each connection itself
        try:
            headers = [*envelope_headers(message), ("Content-Length", str(message.size))]
            answer = await client.post(self._url, message.pieces(), headers, answer_limit=RSPAMD_ANSWER)
        except HttpError as error:
            raise ScannerError(printable(str(error))) from None
        finally:
            await client.close()
        return read_rspamd_answer(answer.status, answer.body)


def envelope_headers(message: Message) -> list[tuple[str, str]]:
    """Return the headers that tell rspamd the envelope."""
    envelope, origin = message.envelope, message.origin
    headers = [("From", str(envelope.sender or "<>"))]
    headers += [("Rcpt", str(recipient.address)) for recipient in envelope.recipients[:RECIPIENTS]]
    headers += [("IP", str(origin.client)), ("Helo", origin.hello), ("Queue-Id", format_id(message.id))]
    headers += [("User", origin.credential or origin.account)]
    return [*headers, ("Content-Type", "application/octet-stream")]


def read_rspamd_answer(status: int, body: bytes) -> Scan:
    """Return what an answer means. Raises ScannerError for anything that is not a verdict."""
    if status != 200:
        raise ScannerError(f"HTTP {status}: {printable(body.decode('utf-8', 'replace'))}")
    try:
        answer = msgspec.json.decode(body, type=RspamdAnswer)
    except msgspec.DecodeError as error:
        raise ScannerError(f"answer not understood: {error}") from None
    if answer.action not in _REFUSING | _LATER | _PASSING:
        raise ScannerError(f"unknown action: {printable(answer.action)}")
    evidence = _rspamd_evidence(answer)
    text = printable(str(answer.messages.get("smtp_message", "")))
    because = f": {text}" if text else ""
    labels = frozenset(answer.symbols)
    if answer.action in _REFUSING:
        refused = f"reason to {answer.action} it{because} ({evidence})"
        return Scan(Rspamd.name, refused=refused, evidence=evidence, labels=labels)
    if answer.action in _LATER:
        return Scan(Rspamd.name, later=text or "no reason given", evidence=evidence, labels=labels)
    return Scan(Rspamd.name, evidence=evidence, labels=labels)


def _rspamd_evidence(answer: RspamdAnswer) -> str:
    """Return e.g. ``reject, 17.2 of 15: BAD_WORD 9, ...``, the heaviest symbols first."""
    scores = {printable(name): symbol.score or 0.0 for name, symbol in answer.symbols.items()}
    heaviest = sorted(scores, key=lambda name: (-abs(scores[name]), name))[:SYMBOLS]
    named = ", ".join(f"{name} {scores[name]:g}" for name in heaviest)
    return f"{answer.action}, {answer.score or 0:g} of {answer.required_score or 0:g}{named and ': '}{named}"


def printable(text: str) -> str:
    """Return a scanner's own text fit for a reply and the record: one line of printable ASCII, not long."""
    return "".join(letter if " " <= letter <= "~" else "?" for letter in text)[:LONGEST]

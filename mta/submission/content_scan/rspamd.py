"""Ask rspamd over HTTP: the message to ``/checkv2``, the envelope in headers, an action back.

What its actions mean here (the scores at which it takes them are set in rspamd):

* ``reject``, ``discard``, ``quarantine``: refused. No message is accepted and then discarded.
* ``soft reject``: to be tried again later (its rate limits, its own greylisting).
* ``greylist``, ``add header``, ``rewrite subject``, ``no action``: passes, with the action and the score in the record.
  The client of an outbound service has logged in: making it come back proves nothing, and marks for a spam folder are
  not set on the sender's side.

Invariants: an answer that is not understood is a failure.

Limitations: the first 100 recipients are named, more would not fit into rspamd's header buffer. Neither its password
nor its encryption (HTTPCrypt) is supported: it should listen on loopback or a private network.
"""

from __future__ import annotations

from typing import Any

import msgspec

from mta.http_client import HttpClient, HttpError
from mta.mail.identity import format_id
from mta.mail.message import Message
from mta.submission.content_scan import ScannerError, printable
from policy.base import Scan

RECIPIENTS = 100  # named in the request
SYMBOLS = 10  # named in the evidence
ANSWER = 1024 * 1024  # octets

_REFUSING = frozenset({"reject", "discard", "quarantine"})
_LATER = frozenset({"soft reject"})
_PASSING = frozenset({"greylist", "add header", "rewrite subject", "no action"})


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
            answer = await client.post(self._url, message.content, envelope_headers(message), answer_limit=ANSWER)
        except HttpError as error:
            raise ScannerError(printable(str(error))) from None
        finally:
            await client.close()
        return judge(answer.status, answer.body)


def envelope_headers(message: Message) -> list[tuple[str, str]]:
    """Return the headers that tell rspamd the envelope."""
    envelope, origin = message.envelope, message.origin
    headers = [("From", str(envelope.sender or "<>"))]
    headers += [("Rcpt", str(recipient.address)) for recipient in envelope.recipients[:RECIPIENTS]]
    headers += [("IP", str(origin.client)), ("Helo", origin.hello), ("Queue-Id", format_id(message.id))]
    headers += [("User", origin.credential or origin.account)]
    return [*headers, ("Content-Type", "application/octet-stream")]


def judge(status: int, body: bytes) -> Scan:
    """Return what an answer means. Raises ScannerError for anything that is not a verdict."""
    if status != 200:
        raise ScannerError(f"HTTP {status}: {printable(body.decode('utf-8', 'replace'))}")
    try:
        answer = msgspec.json.decode(body, type=RspamdAnswer)
    except msgspec.DecodeError as error:
        raise ScannerError(f"answer not understood: {error}") from None
    if answer.action not in _REFUSING | _LATER | _PASSING:
        raise ScannerError(f"unknown action: {printable(answer.action)}")
    evidence = _evidence(answer)
    text = printable(str(answer.messages.get("smtp_message", "")))
    because = f": {text}" if text else ""
    labels = frozenset(answer.symbols)
    if answer.action in _REFUSING:
        refused = f"reason to {answer.action} it{because} ({evidence})"
        return Scan(Rspamd.name, refused=refused, evidence=evidence, labels=labels)
    if answer.action in _LATER:
        return Scan(Rspamd.name, later=text or "no reason given", evidence=evidence, labels=labels)
    return Scan(Rspamd.name, evidence=evidence, labels=labels)


def _evidence(answer: RspamdAnswer) -> str:
    """Return e.g. ``reject, 17.2 of 15: BAD_WORD 9, ...``, the heaviest symbols first."""
    scores = {printable(name): symbol.score or 0.0 for name, symbol in answer.symbols.items()}
    heaviest = sorted(scores, key=lambda name: (-abs(scores[name]), name))[:SYMBOLS]
    named = ", ".join(f"{name} {scores[name]:g}" for name in heaviest)
    return f"{answer.action}, {answer.score or 0:g} of {answer.required_score or 0:g}{named and ': '}{named}"

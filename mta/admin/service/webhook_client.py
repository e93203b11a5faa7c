"""Requests to webhooks: signed batches of events, and the one that a test sends.

Invariants: the body of an answer is not read, and no redirect followed.
"""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Sequence
from dataclasses import dataclass

import orjson

from mta.http_client import HttpClient, HttpError, check_url
from mta.mail.reply import sanitise
from mta.observe.account_events import AccountEvent, fields
from mta.store.journal.webhooks import WebhookTurn

SIGNATURE = "Imprimatur-Signature"
MAX_EVENTS, MAX_BYTES = 500, 256 * 1024  # of one batch
_HEADERS = (("Content-Type", "application/json"), ("User-Agent", "Imprimatur-Webhooks/1"))


@dataclass(frozen=True, slots=True)
class WebhookBatch:
    """The body of one request. ``last``: the id of its last event; ``count``: number of events."""

    body: bytes
    last: int
    count: int


def batch(account: str, events: Sequence[AccountEvent]) -> WebhookBatch:
    """Put as many of ``events`` into a batch as fit, in order, but at least one."""
    chosen: list[bytes] = []
    size = 0
    for event in events[:MAX_EVENTS]:
        encoded = orjson.dumps(fields(event))
        size += len(encoded) + 1
        if chosen and size > MAX_BYTES:
            break
        chosen.append(encoded)
    head = orjson.dumps({"account": account})[:-1]
    body = head + b',"events":[' + b",".join(chosen) + b"]}"
    return WebhookBatch(body, events[len(chosen) - 1].id, len(chosen))


def sign(keys: Sequence[str], at: int, body: bytes) -> str:
    """Return the value of ``Imprimatur-Signature``: ``t=<seconds>,v1=<hex>``, with a ``v1`` for each valid secret.

    Each is HMAC-SHA256 (RFC 2104) of ``<seconds>.<body>``; the key is the secret as it was shown.
    """
    signed = b"%d." % at + body
    digests = [hmac.new(key.encode(), signed, hashlib.sha256).hexdigest() for key in keys]
    return ",".join([f"t={at}", *(f"v1={digest}" for digest in digests)])


class WebhookClient:
    """Sends single batches."""

    def __init__(self, timeout: float, *, allow_private: bool = False) -> None:
        self._timeout, self._allow_private = timeout, allow_private
        self._http = HttpClient(timeout=timeout, allow_private=allow_private)

    async def send(self, turn: WebhookTurn, body: bytes) -> str | None:
        """Send one signed body; return None if it was acknowledged, else the reason."""
        try:
            check_url(turn.url, allow_private=self._allow_private)
            signature = sign(turn.keys, int(time.time()), body)
            answer = await self._http.post(turn.url, body, (*_HEADERS, (SIGNATURE, signature)))
        except TimeoutError:
            return f"no answer within {self._timeout:g} s"
        except (HttpError, ValueError) as error:
            return sanitise(str(error))
        if 200 <= answer.status < 300:
            return None
        return f"answered {answer.status}" + (", redirects are not followed" if 300 <= answer.status < 400 else "")

    async def close(self) -> None:
        await self._http.close()

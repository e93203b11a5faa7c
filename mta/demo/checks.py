"""What the demo checks besides the outcome of each message: DKIM signatures, TLS, the DSN, suppression, list headers.

The signatures are verified by dkimpy, which did not make them, on the messages that the receiver got.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import cast

import dkim

from mta.demo.board import BoardCheck
from mta.demo.cases import READER, SENDER, UNKNOWN
from mta.demo.environment import KEYS, DemoEnvironment
from mta.store.store import Store
from mta.testing.script import Receipt

SIGNED = "ann@inbox.example"
_LIST_FIELDS = ("List-Unsubscribe", "List-Unsubscribe-Post", "List-Id", "Feedback-ID", "X-Mailing-ID", "CFBL-Address")


async def wait_for_dsn(environment: DemoEnvironment) -> None:
    """Wait until the sender has received the DSN about UNKNOWN."""
    await environment.receiver.ledger.wait_until(lambda ledger: _dsn(ledger.accepted) is not None)


async def check(environment: DemoEnvironment, store: Store) -> list[BoardCheck]:
    """Return the results of all checks. Raises StoreUnavailable."""
    accepted, txt = environment.receiver.ledger.accepted, environment.txt
    return [
        await asyncio.to_thread(_signatures, _first(accepted, SIGNED), txt),
        _encryption(_first(accepted, SIGNED)),
        _sender_informed(_dsn(accepted)),
        await _suppression(store),
        _list_fields(_first(accepted, READER)),
    ]


def _first(accepted: Sequence[Receipt], recipient: str) -> Receipt | None:
    """Return the first message for ``recipient``."""
    return next((message for message in accepted if recipient in message.addresses), None)


def _dsn(accepted: Sequence[Receipt]) -> Receipt | None:
    """Return the DSN about UNKNOWN (RFC 3464): from the null sender to the original sender."""
    for message in accepted:
        if (message.sender.address, message.addresses) == ("", (SENDER,)) and f"; {UNKNOWN}" in message.text:
            return message
    return None


def _signatures(message: Receipt | None, txt: dict[str, str]) -> BoardCheck:
    what = "DKIM signatures are valid"
    if message is None:
        return BoardCheck(what, False, f"no message received for {SIGNED}")

    def lookup(name: bytes, timeout: int = 5) -> bytes:
        return txt.get(name.decode().rstrip("."), "").encode()

    verify = cast(Callable[..., bool], dkim.DKIM(message.content).verify)
    found = message.content.lower().split(b"\r\n\r\n")[0].count(b"dkim-signature:")
    try:
        valid = sum(verify(idx=index, dnsfunc=lookup) for index in range(found))
    except dkim.DKIMException as error:
        return BoardCheck(what, False, f"dkimpy: {error}")
    return BoardCheck(what, valid == found == len(KEYS), f"dkimpy accepts {valid} of {found} in the copy for {SIGNED}")


def _encryption(message: Receipt | None) -> BoardCheck:
    version = message.tls if message else None
    return BoardCheck("mail is delivered over TLS", version is not None, version or "plain text")


def _sender_informed(message: Receipt | None) -> BoardCheck:
    what = "the sender got a DSN"
    if message is None:
        return BoardCheck(what, False, f"no DSN about {UNKNOWN} was sent to {SENDER}")
    report = "report-type=delivery-status" in message.text.replace('"', "")
    return BoardCheck(what, report, f"to {SENDER}: RFC 3464 report about {UNKNOWN}")


async def _suppression(store: Store) -> BoardCheck:
    addresses = [str(suppression.address) for suppression in await store.suppressions.list()]
    evidence = f"suppressed: {', '.join(sorted(addresses))}"
    return BoardCheck("the unknown mailbox is suppressed", UNKNOWN in addresses, evidence)


def _list_fields(message: Receipt | None) -> BoardCheck:
    """Check the header fields that mailbox providers require (RFC 8058, RFC 2919, RFC 9477), all of them signed."""
    what = "the newsletter has one-click unsubscribe"
    if message is None:
        return BoardCheck(what, False, f"no message received for {READER}")
    headers = dkim.rfc822_parse(message.content)[0]
    names = [name.decode().lower() for name, _ in headers]
    missing = [name for name in _LIST_FIELDS if names.count(name.lower()) != 1]
    signature = next(value for name, value in headers if name.lower() == b"dkim-signature")
    signed = b"".join(signature.partition(b"h=")[2].partition(b";")[0].split()).decode().lower().split(":")
    unsigned = [name for name in _LIST_FIELDS if name.lower() not in signed]
    leaked = [name for name in names if name.startswith("x-mta-")]
    evidence = f"the copy for {READER} has {', '.join(_LIST_FIELDS)}, each once and signed"
    if missing or unsigned:
        evidence = f"missing: {', '.join(missing) or 'none'}; not signed: {', '.join(unsigned) or 'none'}"
    return BoardCheck(
        what, not (missing or unsigned or leaked), evidence + (f"; not removed: {leaked}" if leaked else "")
    )

"""What must hold besides the table's rows: signatures that others can verify, a notice to the sender, a suppression.

The signatures are verified by dkimpy, which had no part in making them, over what the receiver got.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

import dkim

from mta.demo.board import BoardCheck
from mta.demo.cases import READER, SENDER, UNKNOWN
from mta.demo.ledger import Ledger, Receipt
from mta.demo.world import KEYS, World
from mta.store.store import Store

SIGNED = "ann@inbox.example"
_MARKS = ("List-Unsubscribe", "List-Unsubscribe-Post", "List-Id", "Feedback-ID", "X-Mailing-ID", "CFBL-Address")


async def wait_for_notice(world: World) -> None:
    """Until the notice about UNKNOWN has come back to the sender."""
    await world.receiver.ledger.wait_until(lambda ledger: _notice(ledger) is not None)


async def collect(world: World, store: Store) -> list[BoardCheck]:
    ledger = world.receiver.ledger
    return [
        await asyncio.to_thread(_signatures, _taken(ledger, SIGNED), world.txt),
        _encryption(_taken(ledger, SIGNED)),
        _returned(_notice(ledger)),
        await _suppression(store),
        await asyncio.to_thread(_marks, _taken(ledger, READER), world.txt),
    ]


def _taken(ledger: Ledger, recipient: str) -> Receipt | None:
    """The first message that the receivers took for ``recipient``."""
    for receipt in ledger.accepted:
        if any(mailbox.address == recipient for mailbox in receipt.recipients):
            return receipt
    return None


def _notice(ledger: Ledger) -> Receipt | None:
    """The delivery status notice about UNKNOWN: from the null sender, to the one who sent (RFC 3464)."""
    for receipt in ledger.accepted:
        to_sender = [mailbox.address for mailbox in receipt.recipients] == [SENDER]
        if receipt.sender.address == "" and to_sender and f";{UNKNOWN}" in _text(receipt).replace("; ", ";"):
            return receipt
    return None


def _text(receipt: Receipt) -> str:
    return receipt.content.decode("utf-8", "replace")


def _signatures(receipt: Receipt | None, txt: dict[str, str]) -> BoardCheck:
    what = "DKIM signatures verify"
    if receipt is None:
        return BoardCheck(what, False, f"nothing arrived for {SIGNED}")

    def lookup(name: bytes, timeout: int = 5) -> bytes:
        return txt.get(name.decode().rstrip("."), "").encode()

    verify = cast(Callable[..., bool], dkim.DKIM(receipt.content).verify)
    found = receipt.content.lower().split(b"\r\n\r\n")[0].count(b"dkim-signature:")
    try:
        good = sum(verify(idx=index, dnsfunc=lookup) for index in range(found))
    except dkim.DKIMException as error:
        return BoardCheck(what, False, f"dkimpy: {error}")
    return BoardCheck(what, good == found == len(KEYS), f"dkimpy accepts {good} of {found}, from {SIGNED}'s copy")


def _encryption(receipt: Receipt | None) -> BoardCheck:
    version = receipt.tls if receipt else None
    return BoardCheck("the receiver was spoken to over TLS", version is not None, version or "plain text")


def _returned(receipt: Receipt | None) -> BoardCheck:
    what = "the sender got a notice"
    if receipt is None:
        return BoardCheck(what, False, f"no notice about {UNKNOWN} came to {SENDER}")
    report = "report-type=delivery-status" in _text(receipt).replace('"', "")
    return BoardCheck(what, report, f"to {SENDER}: RFC 3464 report about {UNKNOWN}")


async def _suppression(store: Store) -> BoardCheck:
    listed = [str(suppression.address) for suppression in await store.suppressions.list()]
    return BoardCheck(
        "the unknown mailbox is suppressed", UNKNOWN in listed, f"suppressed: {', '.join(sorted(listed))}"
    )


def _marks(receipt: Receipt | None, txt: dict[str, str]) -> BoardCheck:
    """The newsletter carries what mailbox providers ask for (RFC 8058, RFC 2919, RFC 9477), all of it signed."""
    what = "the newsletter can be unsubscribed with one click"
    if receipt is None:
        return BoardCheck(what, False, f"{READER} got nothing")
    headers = dkim.rfc822_parse(receipt.content)[0]
    names = [name.decode().lower() for name, _ in headers]
    missing = [name for name in _MARKS if names.count(name.lower()) != 1]
    signature = next(value for name, value in headers if name.lower() == b"dkim-signature")
    signed = b"".join(signature.partition(b"h=")[2].partition(b";")[0].split()).decode().lower().split(":")
    open_ = [name for name in _MARKS if name.lower() not in signed]
    evidence = f"{READER}'s copy has {', '.join(_MARKS)}, each once and signed"
    if missing or open_:
        evidence = f"missing: {', '.join(missing) or 'nothing'}; not signed: {', '.join(open_) or 'nothing'}"
    leaked = [name for name in names if name.startswith("x-mta-")]
    return BoardCheck(what, not (missing or open_ or leaked), evidence + (f"; leaked: {leaked}" if leaked else ""))

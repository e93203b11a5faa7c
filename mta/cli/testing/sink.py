"""``mta sink``: a scripted SMTP receiver, and a name server that makes it the MX of every domain."""

from __future__ import annotations

import signal
import sys
import tempfile
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mta.cli.options import parse_endpoint, parse_span
from mta.cli.output import fail, print_json_line, size
from mta.mail.spans import span

if TYPE_CHECKING:
    import ssl

    from mta.testing.script import Receipt, Script, ScriptRule
    from mta.testing.sink import Maildir, Tally

SMTP_PORT = 2526


def register(app: typer.Typer) -> None:
    app.command("sink")(sink)


def sink(
    listen: Annotated[
        list[str] | None,
        typer.Option(metavar="ADDRESS:PORT", help=f"Where to listen; default 127.0.0.1:{SMTP_PORT}. May be repeated."),
    ] = None,
    name: Annotated[str, typer.Option(metavar="HOST", help="Name in the greeting.")] = "mx.sink.example",
    rule: Annotated[
        list[str] | None,
        typer.Option(
            metavar="RULE",
            help="`STAGE [WHO] [SHARE%]: ACT, then ACT`, e.g. `rcpt grey*@*: 451 4.7.1 later, then ok`, "
            "`end 5%: 451 4.3.0 later`, `connect: wait 20s`, `end lost@*: close`. May be repeated; the first wins.",
        ),
    ] = None,
    manners: Annotated[
        bool,
        typer.Option(
            "--manners",
            help="Reply by local part: those that begin with unknown, full, grey, slow, busy, blocked, spam, later or "
            "lost get what they say.",
        ),
    ] = False,
    rate: Annotated[
        float | None, typer.Option(min=0.001, metavar="N", help="Take at most N messages a second.")
    ] = None,
    tls: Annotated[bool, typer.Option(help="Offer STARTTLS, with a self-signed certificate.")] = True,
    maildir: Annotated[Path | None, typer.Option(metavar="FOLDER", help="Keep the messages in this Maildir.")] = None,
    dns: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS:PORT", help="Answer DNS there: this receiver is the MX of every domain."),
    ] = None,
    count: Annotated[
        int | None, typer.Option("--count", "-n", min=1, metavar="N", help="End when N messages were accepted.")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No line for each message, only the sum.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Output one JSON object per line.")] = False,
) -> None:
    """Run an SMTP receiver that takes all mail and passes none on, or does what its rules say.

    The first rule that fits decides. Stages: connect, hello, starttls, auth, mail, rcpt, data, body, end, rset, quit.
    WHO is a recipient with `*` and `?`, SHARE how often the rule applies. Acts: `ok`, a reply, `wait 2s`, `drip 100ms`
    (octet by octet), `... and close`, `reset`, `hang`. Stop with Ctrl-C, which prints the sum.
    """
    import asyncio

    from mta.testing.script import MANNERS, Pacer, Script
    from mta.testing.sink import Maildir

    endpoints = [parse_endpoint(text, SMTP_PORT) for text in listen or ["127.0.0.1"]]
    rules = tuple(_rule(text) for text in rule or ()) + (MANNERS if manners else ())
    try:
        script = Script(name, rules=rules, tls=_certificate(name) if tls else None, pacer=Pacer(rate) if rate else None)
        keep = Maildir(maildir) if maildir else None
        asyncio.run(_Sink(script, keep, count, quiet=quiet, json=json).run(endpoints, dns))
    except OSError as error:
        fail(str(error))


class _Sink:
    def __init__(self, script: Script, maildir: Maildir | None, count: int | None, *, quiet: bool, json: bool) -> None:
        import asyncio

        from mta.testing.sink import Tally

        self._script, self._maildir, self._count, self._quiet, self._json = script, maildir, count, quiet, json
        self._tally, self._done = Tally(), asyncio.Event()

    async def run(self, endpoints: list[tuple[str, int]], dns: str | None) -> None:
        """Serve until a signal or the last wanted message. Raises OSError."""
        import asyncio

        from mta.testing.nameserver import NameServer
        from mta.testing.receiver import Receiver
        from mta.testing.script import Ledger
        from mta.testing.sink import EveryDomain

        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._done.set)
        async with AsyncExitStack() as stack:
            receiver = Receiver(self._script, Ledger(on_answer=self._take, record=False))
            stack.push_async_callback(receiver.stop)
            for address, port in endpoints:
                bound = await receiver.start(address, port)
                _say(f"SMTP on {address}:{bound}")
            if dns:
                names = NameServer(EveryDomain(self._script.name, tuple(address for address, _ in endpoints)))
                stack.push_async_callback(names.stop)
                address, port = parse_endpoint(dns, 0)
                bound = await names.start(address, port)
                _say(f"DNS on {address}:{bound}: {self._script.name} is the MX of every domain")
            await self._done.wait()
        _print_sum(self._tally)

    def _take(self, receipt: Receipt) -> None:
        import asyncio

        from mta.testing.sink import describe

        self._tally.add(receipt, asyncio.get_running_loop().time())
        if self._maildir and receipt.accepted:
            self._maildir.add(receipt)
        if self._json:
            print_json_line(describe(receipt), flush=True)
        elif not self._quiet:
            print(_line(receipt), flush=True)
        if self._count is not None and self._tally.accepted >= self._count:
            asyncio.get_running_loop().call_later(0.2, self._done.set)  # the last reply still has to leave


def _line(receipt: Receipt) -> str:
    from mta.testing.sink import describe

    seen = describe(receipt)
    words = [
        f"{datetime.fromtimestamp(receipt.at, UTC):%H:%M:%S}",
        f"<{seen['sender']}> to {' '.join(f'<{each}>' for each in seen['recipients'])}",
        f"{size(seen['size'])}, {seen['tls'] or 'not encrypted'}: {seen['subject'] or 'no subject'}",
        f"[{seen['reply'] or 'no reply'}]",
    ]
    return "  ".join("".join(c if c.isprintable() else "?" for c in word) for word in words)


def _print_sum(tally: Tally) -> None:
    seconds = tally.last - (tally.first or 0.0)
    _say(
        f"{tally.accepted} messages accepted, {tally.recipients} recipients, {size(tally.octets)}"
        + (f", in {span(seconds)}: {tally.rate:.1f} messages/s" if tally.rate else "")
    )
    for reply, times in tally.replies.most_common(10):
        _say(f"  {times} x {reply or 'connection closed without a reply'}")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _rule(text: str) -> ScriptRule:
    from mta.testing.rule_text import parse_rule

    try:
        return parse_rule(text, lambda span: parse_span(span).total_seconds())
    except ValueError as error:
        fail(f"--rule: {error}", status=2)


def _certificate(name: str) -> ssl.SSLContext:
    from config.schema import Certificate
    from mta.smtp_server.tls import server_context

    with tempfile.TemporaryDirectory(prefix="imprimatur-sink-") as folder:
        return server_context(Certificate(), hostname=name, data_dir=Path(folder))

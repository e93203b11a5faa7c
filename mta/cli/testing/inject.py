"""``mta inject``: submit mail as many clients would, and say how it was answered."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path
from secrets import token_hex
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from mta.cli.options import JsonOption, ReasonOption, operator, parse_endpoint
from mta.cli.output import fail, on_terminal, print_details, print_json, print_table, size

if TYPE_CHECKING:
    import ssl

    from mta.testing.injector import Injector
    from mta.testing.load import Load, LoadResult

SECRET = "MTA_SECRET"  # noqa: S105  the variable's name
_SIZES = {"b": 1, "kb": 1000, "kib": 1024, "mb": 10**6, "mib": 2**20}


def register(app: typer.Typer) -> None:
    app.command("inject")(inject)


def inject(
    files: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[FILE.eml]...", help="Messages to send in turn; else texts are made."),
    ] = None,
    server: Annotated[str, typer.Option(metavar="ADDRESS:PORT", help="Where to submit.")] = "127.0.0.1:2525",
    sender: Annotated[str, typer.Option("--from", metavar="ADDRESS", help="Envelope sender.")] = "load@load.example",
    to: Annotated[
        list[str] | None, typer.Option(metavar="ADDRESS", help="Recipients, taken in turn. May be repeated.")
    ] = None,
    count: Annotated[int, typer.Option("--count", "-n", min=1, metavar="N", help="Messages to send.")] = 1,
    sessions: Annotated[int, typer.Option("--sessions", "-s", min=1, metavar="N", help="Sessions at once.")] = 1,
    rate: Annotated[
        float | None, typer.Option(min=0.001, metavar="N", help="Messages a second; else as fast as they are answered.")
    ] = None,
    message_size: Annotated[
        str, typer.Option("--size", metavar="SIZE", help="Size of made texts: 10kB, 1MB.")
    ] = "10kB",
    recipients: Annotated[int, typer.Option(min=1, metavar="N", help="Recipients of each message.")] = 1,
    domains: Annotated[int, typer.Option(min=1, metavar="N", help="Domains of made recipients: d0.example ...")] = 1,
    per_connection: Annotated[int, typer.Option(min=1, metavar="N", help="Messages before a new connection.")] = 100,
    header: Annotated[
        list[str] | None,
        typer.Option(
            metavar="'NAME: VALUE'", help="A header field to add, e.g. 'X-MTA-Stream: marketing'. Repeatable."
        ),
    ] = None,
    auth: Annotated[
        str | None, typer.Option(metavar="USERNAME", help=f"Log in; the secret comes from ${SECRET} or --secret-file.")
    ] = None,
    secret_file: Annotated[Path | None, typer.Option(metavar="FILE", help="File with the secret.")] = None,
    tls: Annotated[
        Literal["none", "starttls", "implicit"], typer.Option(help="How the connection is encrypted.")
    ] = "none",
    ca: Annotated[Path | None, typer.Option(metavar="FILE", help="Certificates to trust; else the system's.")] = None,
    insecure: Annotated[bool, typer.Option("--insecure", help="Do not verify the server's certificate.")] = False,
    remote: Annotated[
        bool, typer.Option("--remote", help="The server is not this machine, and its owner agrees; needs --reason.")
    ] = False,
    reason: ReasonOption = "",
    json: JsonOption = False,
) -> None:
    """Submit mail over many sessions, and print rates, latencies and replies. Exit status 1 if any was not accepted.

    A latency is the time from MAIL to the reply after the final dot; with --rate, from the moment the message was due.
    Only this machine may be loaded, unless --remote and --reason say why another one may be; the reason is added to
    each message as the field X-Load-Test.
    """
    import asyncio

    from mta.testing.injector import Injector, LoadError, LoadTarget
    from mta.testing.load import Load, LoadTls

    host, port = parse_endpoint(server, 2525)
    fields = [_field(text) for text in header or ()]
    if not _is_here(host):
        fields.append(f"X-Load-Test: {_permitted(host, remote, reason)}")
    context = _context(ca, insecure) if tls != "none" else None
    login = (auth, _secret(secret_file)) if auth else None
    load = Load(
        sender, tuple(to or ()), count, sessions, per_connection, rate, _octets(message_size), recipients, domains,
        tuple(_read(path) for path in files or ()), tuple(fields), token_hex(4),
    )  # fmt: skip
    injector = Injector(LoadTarget(host, port, LoadTls(tls), context, login), load)
    try:
        asyncio.run(_run(injector, load))
    except LoadError as error:
        fail(str(error))
    except KeyboardInterrupt:
        print("Stopped.", file=sys.stderr)
    _print(injector.result, load, json=json)
    raise typer.Exit(0 if injector.result.accepted == count else 1)


async def _run(injector: Injector, load: Load) -> None:
    import asyncio

    from mta.cli.output import progress

    with progress("Sending", load.count) as show:
        sending = asyncio.create_task(injector.run())
        while not (await asyncio.wait([sending], timeout=0.5))[0]:
            show(injector.result.sent)
        await sending


def _print(result: LoadResult, load: Load, *, json: bool) -> None:
    shares = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p99.9": 0.999}
    rate = result.sent / result.seconds if result.seconds else 0.0
    latencies = {name: result.latencies.percentile(share) for name, share in shares.items()}
    latencies["max"] = result.latencies.longest
    if json:
        counts = {name: getattr(result, name) for name in ("accepted", "rejected", "broken", "recipients", "octets")}
        replies = [{"reply": reply, "count": times} for reply, times in result.kinds()]
        more = {"connections": result.connections, "seconds": result.seconds, "rate": rate, "latency": latencies}
        print_json(counts | more | {"replies": replies})
        return
    print_details(
        f"{result.sent} of {load.count} messages sent in {result.seconds:.2f} s",
        [
            ("accepted", f"{result.accepted} ({result.recipients} recipients, {size(result.octets)})"),
            ("rejected", str(result.rejected or "")),
            ("lost", f"{result.broken} (no reply: the connection ended)" if result.broken else ""),
            ("rate", f"{rate:.1f} messages/s over {load.sessions} sessions, {result.connections} connections"),
            ("latency", ", ".join(f"{name} {seconds * 1000:.1f} ms" for name, seconds in latencies.items())),
            ("behind", f"{result.late:.1f} s: too few sessions for this rate" if result.late > 1 else ""),
        ],
    )
    rows = [(times, reply) for reply, times in result.kinds()]
    print_table(["replies", "the first of its kind"], rows, empty="No replies.")


def _is_here(host: str) -> bool:
    from ipaddress import ip_address

    with suppress(ValueError):
        return ip_address(host).is_loopback
    return host == "localhost"


def _permitted(host: str, remote: bool, reason: str) -> str:
    if not (remote and reason.strip()):
        fail(
            f"{host} is not this machine. A load test of a server of others is an attack: if its owner agrees, say so "
            "with --remote --reason 'who agreed, and to what'",
            status=2,
        )
    return f"{' '.join(reason.split())} ({operator()})"


def _field(text: str) -> str:
    name, colon, value = text.partition(":")
    if not (colon and name.isascii() and name.isprintable() and " " not in name and name) or "\n" in value + name:
        fail(f"--header: {text!r} is no header field, such as 'X-MTA-Stream: marketing'", status=2)
    return text


def _secret(path: Path | None) -> str:
    if path:
        return _read(path).decode("utf-8").strip()
    if secret := os.environ.get(SECRET):
        return secret
    if not (sys.stdin.isatty() and on_terminal()):
        fail(f"--auth needs the secret in ${SECRET} or in --secret-file", status=2)
    return str(typer.prompt("Secret", hide_input=True, err=True))


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        fail(f"{path}: {error.strerror}", status=2)


def _octets(text: str) -> int:
    import re

    match = re.fullmatch(r"\s*(\d{1,9})\s*([kKmM]?i?[bB]?)\s*", text)
    unit = (match[2].lower() if match else "") or "b"
    if not match or unit not in _SIZES:
        fail(f"--size: {text!r} is no size, such as 10kB or 1MB", status=2)
    return int(match[1]) * _SIZES[unit]


def _context(ca: Path | None, insecure: bool) -> ssl.SSLContext:
    import ssl

    try:
        context = ssl.create_default_context(cafile=ca)
    except (OSError, ssl.SSLError) as error:
        fail(f"{ca}: cannot be used: {error}", status=2)
    if insecure:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context

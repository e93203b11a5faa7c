"""``mta lint``: whether a message would be accepted, and why not; or what a changed profile would change.

Invariants: nothing is sent, queued or recorded.

Limitations: exit status 2 also means that there is no such account, or no database.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mta.cli.context import load_settings, with_store
from mta.cli.message.message_file import ProfileChoice, choose_profiles, read_message
from mta.cli.options import ConfigOption, JsonOption
from mta.cli.output import Styled, fail, print_json, print_lines, print_table
from policy.accounts.account import Grant

if TYPE_CHECKING:
    from config.schema import Settings
    from mta.admin.files.message_file import MessageFile
    from mta.store.store import Store
    from mta.submission.lint import Linted
    from policy.accounts.account import Account
    from policy.base import Finding

STYLES = {"pass": "green", "amend": "cyan", "hold": "yellow", "observe": "yellow", "refuse": "red", "error": "red bold"}


def register(app: typer.Typer) -> None:
    app.command("lint")(lint)


def lint(
    file: Annotated[
        str | None,
        typer.Argument(metavar="FILE.eml", help="The message as an application would submit it; - for standard input."),
    ] = None,
    account: Annotated[
        str | None, typer.Option("--account", "-a", metavar="NAME", help="Account that would send it.")
    ] = None,
    recipient: Annotated[
        list[str] | None,
        typer.Option("--recipient", metavar="ADDRESS", help="Default: the one address of the To field; repeatable."),
    ] = None,
    sender: Annotated[
        str | None,
        typer.Option("--sender", metavar="ADDRESS", help="Envelope sender; default: the address of the From field."),
    ] = None,
    credential: Annotated[
        str | None, typer.Option("--credential", metavar="USER", help="Check the rights of this user name too.")
    ] = None,
    profile: Annotated[
        str | None, typer.Option("--profile", metavar="NAME|FILE", help="Instead of the account's profile.")
    ] = None,
    replay: Annotated[
        bool, typer.Option("--replay", help="Judge recorded messages by --profile FILE and show what would change.")
    ] = False,
    last: Annotated[
        int, typer.Option("--last", min=1, max=1_000_000, metavar="N", help="With --replay: the N newest messages.")
    ] = 1000,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="FILE", help="Write the message there as its first recipient would get it."
        ),
    ] = None,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Run all checks on a message without sending it.

    Exit status 0: it would be accepted, 1: refused, 2: the input cannot be read. With --replay, 1: the changed profile
    would change the result for a message.
    """
    settings = load_settings(config)
    chosen = choose_profiles(settings, profile)
    if replay:
        from mta.cli.message import replay as replays

        if file or recipient or sender or credential or not profile:
            fail("mta lint --replay takes --profile FILE, --last and --account, and nothing else", status=2)
        replayed = with_store(settings, lambda store: replays.replay(store, settings, chosen, account, last), status=2)
        replays.print_replayed(replayed, as_json=as_json)
        raise typer.Exit(1 if any(each.changed for each in replayed) else 0)
    if file is None or account is None:
        fail("mta lint needs a file and --account", status=2)
    message = read_message(file, recipient or [], sender)
    linted = with_store(settings, lambda store: _lint(store, settings, chosen, message, account, credential), status=2)
    if output is not None and linted.refusal is None:
        output.write_bytes(linted.outgoing)
    if as_json:
        print_json(_fields(linted, message))
    else:
        _print(linted)
    raise typer.Exit(1 if linted.refusal else 0)


async def _lint(
    store: Store, settings: Settings, chosen: ProfileChoice, file: MessageFile, name: str, credential: str | None
) -> Linted:
    """Return what would become of the message, signed and scanned as if it were submitted."""
    from mta.admin.files.message_file import open_preparer, submitted
    from mta.submission import lint as submission
    from mta.submission.prepare import Submitter
    from mta.submission.rate_limit import RateLimit

    account = (await store.accounts.find(name)).account
    submitter = Submitter(replace(account, profile=chosen.name or account.profile), _grant(store, account, credential))
    preparer = await open_preparer(store, settings, chosen.profiles)
    rate_limit = RateLimit(store.quotas, settings.rate_limits)
    return await submission.lint(preparer, rate_limit, submitter, submitted(file, account, credential))


def _grant(store: Store, account: Account, credential: str | None) -> Grant:
    if credential is None:
        return Grant()
    grant, known = store.accounts.grant(credential), store.accounts.by_credential(credential)
    if grant is None or known is None or known.account.id != account.id:
        fail(f'account "{account.name}" has no credential "{credential}"', status=2)
    return grant


def _print(linted: Linted) -> None:
    rows = []
    for finding in linted.findings:
        evidence, fix = _split(finding)
        rows.append((finding.policy, Styled(finding.verdict, STYLES.get(finding.verdict, "")), evidence, fix))
    print_table(("rule", "verdict", "evidence", "fix"), rows, empty="No rule has judged it.")
    about = [f"profile {linted.profile} ({linted.digest})", f"stream {linted.stream.value if linted.stream else '?'}"]
    about += [f"{what} {value}" for what, value in (("mailing", linted.mailing), ("topic", linted.topic)) if value]
    dropped = [(f"would not be sent to {address}: {reply}", "yellow") for address, reply in linted.dropped]
    print_lines([(", ".join(about), "dim"), *dropped, _verdict(linted)])


def _split(finding: Finding) -> tuple[str, str]:
    """Return the fact and its fix: a rejection has both, with a semicolon between."""
    text = finding.evidence.removeprefix(f"{finding.policy}: ")
    if finding.recipient and finding.recipient not in text:
        text = f"{finding.recipient}: {text}"
    if finding.verdict in ("refuse", "hold"):
        fact, _, fix = text.rpartition("; ")
        return (fact, fix) if fact else (text, "")
    return text, ""


def _verdict(linted: Linted) -> tuple[str, str]:
    if linted.refusal:
        what = "deferred" if linted.refusal.code < 500 else "refused"
        return f"would be {what}: {linted.refusal}", "red"
    if linted.holds:
        return f"would be accepted and held by {'; '.join(map(str, linted.holds))}", "yellow"
    return "would be accepted", "green"


def _fields(linted: Linted, file: MessageFile) -> dict[str, object]:
    reply = linted.refusal
    return {
        "file": file.name,
        "verdict": "refused" if reply else "held" if linted.holds else "accepted",
        "reply": {"code": reply.code, "status": reply.status, "text": reply.text} if reply else None,
        "holds": linted.holds,
        "profile": linted.profile,
        "digest": linted.digest,
        "stream": linted.stream,
        "mailing": linted.mailing,
        "topic": linted.topic,
        "sender": file.envelope.sender,
        "recipients": [recipient.address for recipient in file.envelope.recipients],
        "dropped": [{"recipient": address, "reply": str(reply)} for address, reply in linted.dropped],
        "findings": [
            finding._asdict() | dict(zip(("evidence", "fix"), _split(finding), strict=True))
            for finding in linted.findings
        ],
    }

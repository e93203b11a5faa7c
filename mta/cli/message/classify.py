"""``mta classify``: what a reply, or mail that came back, means, and which rule says so.

Invariants: neither the service nor the database is needed, nor more of the configuration than the names of rule files;
only for ``--sent-to`` a return path of this installation. No content of a mail file ends the command.

Limitations: a file that begins with an mbox ``From `` line may hold several mails; their recipients are shown as those
of the file.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bounce.classify import Classifier
from bounce.parsers.mime import MAX_OCTETS
from bounce.parsers.report_kinds import Report, ReportedRecipient, ReportKind
from bounce.report import read
from bounce.rules import RuleBook, load_rules
from bounce.verp import ReturnPath
from mta.cli.options import ConfigOption, JsonLinesOption, find_config
from mta.cli.output import errors_reported, fail, print_json_line
from mta.mail.address import Address, AddressError
from mta.mail.delivery import Classification, Stage
from mta.mail.reply import Reply

if TYPE_CHECKING:
    from mta.store.store import Store

MAX_MAILS = 1000  # of one mbox

_MBOX_LINE = re.compile(rb"(?m)^From \S{1,200} {1,3}[A-Z][a-z]{2} [A-Z][a-z]{2} [ \d]\d [\d:]{5,8} .{0,20}$")
_NAMES = {
    ReportKind.BOUNCE: "bounce",
    ReportKind.COMPLAINT: "complaint",
    ReportKind.AUTO_REPLY: "auto_reply",
    ReportKind.CHALLENGE: "auto_reply",
    ReportKind.RECEIPT: "other",
    ReportKind.OTHER: "other",
}


def register(app: typer.Typer) -> None:
    app.command("classify")(classify)


def classify(
    replies: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="REPLY|FILE...", help="Such as `550 5.1.1 ...`, or mail files. Default: replies on standard input."
        ),
    ] = None,
    stage: Annotated[Stage, typer.Option(help="SMTP stage of the reply.")] = Stage.RECIPIENT,
    host: Annotated[str | None, typer.Option(help="Name of the receiving host, for provider rules.")] = None,
    sent_to: Annotated[
        str | None,
        typer.Option(
            metavar="RETURN_PATH",
            help="For mail files: our own return path, at which the mail arrived. If it is one of this installation, "
            "the recipients that it names are read from the database.",
        ),
    ] = None,
    as_json: JsonLinesOption = False,
    categories: Annotated[bool, typer.Option("--categories", help="List the categories and what they mean.")] = False,
    config: ConfigOption = None,
) -> None:
    """Show what SMTP replies or bounce messages mean. Exit status 1 if any of them cannot be read."""
    book = _book(config)
    if categories:
        _print_categories(book, as_json=as_json)
        return
    classifier = Classifier(book)
    if replies and _are_files(replies):
        ours = _address(sent_to)
        whole = _classify_files(replies, classifier, ours, _mailed(ours, config), as_json=as_json)
    else:
        whole = _classify_replies(book, classifier, replies or (), stage, host, as_json=as_json)
    if not whole:
        raise typer.Exit(1)


def _book(config: Path | None) -> RuleBook:
    """Return the rules of the service: the shipped ones, after those that the configuration names."""
    path = find_config(config)
    with errors_reported():
        if path is None:
            return load_rules()
        from config.load import load_file

        return load_rules(load_file(path).bounces.rules)


def _print_categories(book: RuleBook, *, as_json: bool) -> None:
    for each in book.categories.values():
        if as_json:
            print_json_line(
                {"category": each.name, "fault": each.fault, "action": each.action, "meaning": each.meaning}
            )
        else:
            print(f"{each.name:20} {each.fault.value:9} {each.action.value:9} {each.meaning}")


# Replies


def _classify_replies(
    book: RuleBook, classifier: Classifier, texts: Sequence[str], stage: Stage, host: str | None, *, as_json: bool
) -> bool:
    """Print what each reply means. Return whether all could be read."""
    whole = True
    for text in texts or _lines(sys.stdin):
        try:
            reply = Reply.read(text)
        except ValueError as error:
            print(f"{text[:60]!r}: {error}", file=sys.stderr)
            whole = False
            continue
        meaning = classifier.classify(reply, stage, host)
        others = classifier.explain(reply, stage, host)[1:]
        if as_json:
            print_json_line(_reply_fields(reply, meaning, others))
        elif len(texts) == 1:
            _print_reply(book, meaning, others)
        else:
            print(f"{meaning.action.value:9} {meaning.fault.value:9} {meaning.category:19} {meaning.rule:25} {text}")
    return whole


def _lines(stream: Iterable[str]) -> Iterator[str]:
    return (line.strip() for line in stream if line.strip())


def _reply_fields(reply: Reply, meaning: Classification, others: Iterable[Classification]) -> dict[str, Any]:
    return {
        "reply": str(reply),
        "category": meaning.category,
        "fault": meaning.fault,
        "action": meaning.action,
        "rule": meaning.rule,
        "matched": meaning.matched,
        "others": [other.rule for other in others],
    }


def _print_reply(book: RuleBook, meaning: Classification, others: tuple[Classification, ...]) -> None:
    category = book.categories.get(meaning.category)
    reason = next((rule.reason for rule in book.rules if rule.id == meaning.rule), "")
    print(f"category  {meaning.category}{f': {category.meaning}' if category else ''}")
    print(f"fault     {meaning.fault.value}")
    print(f"action    {meaning.action.value}")
    print(f"rule      {meaning.rule}, by {meaning.matched!r}" + (f" ({reason})" if reason else ""))
    for other in others:
        print(f"also      {other.rule} ({other.category}, {other.action.value}), by {other.matched!r}")


# Mail files


def _are_files(arguments: Sequence[str]) -> bool:
    """Return whether mail files are meant: a reply begins with its code and is no file."""
    is_reply = not arguments or re.match(r"\s*\d{3}(?:[ -]|\Z)", arguments[0])
    return not is_reply or _is_file(arguments)


def _is_file(arguments: Sequence[str]) -> bool:
    try:
        return bool(arguments) and Path(arguments[0]).is_file()
    except (OSError, ValueError):
        return False


def _address(sent_to: str | None) -> Address | None:
    if sent_to is None:
        return None
    try:
        return Address.parse(sent_to.strip("<>"))
    except AddressError as error:
        raise typer.BadParameter(str(error), param_hint="--sent-to") from None


def _mailed(ours: Address | None, config: Path | None) -> Sequence[Address]:
    """Return the recipients that our return path names, as the service knows them; none if it is not of this
    installation."""
    path = find_config(config)
    if ours is None or path is None:
        return ()
    from config.load import load_file
    from mta.cli.context import with_store
    from mta.reports.attribution import query_of, recipients_of
    from mta.service.composition import open_verp
    from mta.store.postgres.secrets import Secrets

    with errors_reported():
        settings = load_file(path)
    if ours.domain != settings.return_path.domain:
        return ()
    secrets = Secrets.load_or_create(settings.server.secret_file or settings.server.data_dir / "secret")

    async def work(store: Store) -> Sequence[Address]:
        verp = open_verp(settings, secrets)
        found = verp.read(ours, datetime.now(UTC)) if verp else None
        if not isinstance(found, ReturnPath):
            fail(f"{ours} is {found.value if found else 'no return path'}")
        return recipients_of(found, await store.reports.facts(query_of(found)))

    return with_store(settings, work)


def _classify_files(
    paths: Sequence[str],
    classifier: Classifier,
    sent_to: Address | None,
    mailed: Sequence[Address],
    *,
    as_json: bool,
) -> bool:
    """Print what each file holds. Return whether all could be read."""
    whole = True
    for path in paths:
        try:
            with Path(path).open("rb") as file:
                content = file.read(MAX_OCTETS)
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            print(f"{path[:200]}: {reason}; give mail files, or a reply such as 550 5.1.1 ...", file=sys.stderr)
            whole = False
            continue
        reports = [read(mail, classifier, sent_to, mailed) for mail in mails_in(content)]
        if as_json:
            recipients = [_recipient_fields(part, report) for report in reports for part in report.recipients]
            print_json_line({"file": path, "kind": _NAMES[_first(reports).kind], "recipients": recipients})
        else:
            _print_reports(path, reports)
    return whole


def mails_in(content: bytes) -> Iterator[bytes]:
    """Yield the mails of an mbox, or ``content`` as the one mail that it is."""
    starts = [match.start() for match in _MBOX_LINE.finditer(content)][:MAX_MAILS] if content[:5] == b"From " else []
    starts = [start for start in starts if start == 0 or content[:start].endswith((b"\n\n", b"\r\n\r\n"))]
    if not starts:
        starts = [0]
    for start, end in zip(starts, [*starts[1:], len(content)], strict=True):
        yield content[start:end]


def _first(reports: Sequence[Report]) -> Report:
    """Return the report that says most about its file."""
    return min(reports, key=lambda report: list(_NAMES).index(report.kind))


def _recipient_fields(part: ReportedRecipient, report: Report) -> dict[str, Any]:
    return {
        "address": str(part.address) if part.address else None,
        "status": part.status or None,
        "action": part.action,
        "hard": part.hard,
        "category": part.classification.category if part.classification else None,
        "fault": part.classification.fault if part.classification else None,
        "rule": part.classification.rule if part.classification else None,
        "suppress": part.suppress,
        "why": _why(part, report),
    }


def _why(part: ReportedRecipient, report: Report) -> list[str]:
    """Return the facts that decided who wrote the mail, and the words or code that decided about the recipient."""
    found = part.classification
    stage = [f"answer to {part.stage.value}"] if part.stage else []
    return [*report.evidence, *stage, *([f"rule {found.rule}, by {found.matched!r}"] if found else [])]


def _print_reports(path: str, reports: Sequence[Report]) -> None:
    first = _first(reports)
    reporter = f", reported by {first.reporter}" if first.reporter else ""
    print(f"{path}: {first.kind.value}{f' ({first.form})' if first.form else ''}{reporter}")
    for report in reports:
        for part in report.recipients:
            found = part.classification
            words = (str(part.address or "(hidden)"), part.action.value, part.status, "hard" if part.hard else "")
            print("  " + "  ".join(filter(None, words)))
            if found:
                print(f"    {found.category}, fault {found.fault.value}, action {found.action.value}")
                print(f"    rule {found.rule}, by {found.matched!r}")
                print(f"    written by a mail system: {', '.join(report.evidence)}")

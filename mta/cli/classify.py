"""``mta classify``: what does this reply, or a mail that came back, mean, and which rules say so?

It must never need the service, the database, or more of the configuration than the names of rule files.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from bounce.classify import Classifier
from bounce.rules import RuleBook, load_rules
from config.toml import ConfigError
from mta.cli.classify_mail import are_files, classify_files
from mta.cli.options import ConfigOption, find_config
from mta.cli.output import fail
from mta.mail.delivery import Classification, Stage
from mta.mail.reply import Reply


def register(app: typer.Typer) -> None:
    app.command("classify")(classify)


def classify(
    replies: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="REPLY|FILE...", help="As `550 5.1.1 ...`, or mail files; else replies from standard input."
        ),
    ] = None,
    stage: Annotated[Stage, typer.Option(help="Which command was answered.")] = Stage.RECIPIENT,
    host: Annotated[str | None, typer.Option(help="Name of the receiving host, for rules of one provider.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
    categories: Annotated[bool, typer.Option("--categories", help="List all categories and their meaning.")] = False,
    config: ConfigOption = None,
) -> None:
    """Say what receivers' replies, or mails that came back, mean. Ends with 1 if one of them cannot be read."""
    book = _book(config)
    if categories:
        _print_categories(book)
        return
    classifier, mistaken = Classifier(book), False
    if replies and are_files(replies):
        if not classify_files(replies, classifier, as_json):
            raise typer.Exit(1)
        return
    for text in replies if replies else _lines(sys.stdin):
        try:
            reply = Reply.read(text)
        except ValueError as error:
            print(f"{text[:60]!r}: {error}", file=sys.stderr)
            mistaken = True
            continue
        meaning = classifier.classify(reply, stage, host)
        others = classifier.explain(reply, stage, host)[1:]
        if as_json:
            print(json.dumps(_as_dict(reply, meaning, others)))
        elif replies and len(replies) == 1:
            _print_one(book, meaning, others)
        else:
            print(f"{meaning.action.value:9} {meaning.fault.value:9} {meaning.category:19} {meaning.rule:25} {text}")
    if mistaken:
        raise typer.Exit(1)


def _book(config: Path | None) -> RuleBook:
    """The rules that the service would use: your own, if a configuration names some, and the shipped ones."""
    path = find_config(config)
    try:
        if path is None:
            return load_rules()
        from config.load import load_file

        return load_rules(load_file(path).bounces.rules)
    except ConfigError as error:
        fail("\n".join(error.lines), status=2)


def _lines(stream: Iterable[str]) -> Iterator[str]:
    return (line.strip() for line in stream if line.strip())


def _as_dict(reply: Reply, meaning: Classification, others: Iterable[Classification]) -> dict[str, Any]:
    return {
        "reply": str(reply),
        "category": meaning.category,
        "fault": meaning.fault.value,
        "action": meaning.action.value,
        "rule": meaning.rule,
        "matched": meaning.matched,
        "others": [other.rule for other in others],
    }


def _print_one(book: RuleBook, meaning: Classification, others: tuple[Classification, ...]) -> None:
    category = book.categories.get(meaning.category)
    reason = next((rule.reason for rule in book.rules if rule.id == meaning.rule), "")
    print(f"category  {meaning.category}{f': {category.meaning}' if category else ''}")
    print(f"fault     {meaning.fault.value}")
    print(f"action    {meaning.action.value}")
    print(f"rule      {meaning.rule}, by {meaning.matched!r}" + (f" ({reason})" if reason else ""))
    for other in others:
        print(f"also      {other.rule} ({other.category}, {other.action.value}), by {other.matched!r}")


def _print_categories(book: RuleBook) -> None:
    for category in book.categories.values():
        print(f"{category.name:20} {category.fault.value:9} {category.action.value:9} {category.meaning}")

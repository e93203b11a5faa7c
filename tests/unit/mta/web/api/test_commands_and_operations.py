"""Whatever the command line can do, the API can do: each command has its operation, or a reason why it has none."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import typer.main

import mta
from mta.cli.main import build
from mta.web.api.app import openapi

# command -> operation ids
PAIRS: dict[str, str] = {
    "account add": "accounts.add", "account list": "accounts.list_", "account show": "accounts.show",
    "account set": "accounts.change", "account check": "accounts.missing domains.verify",
    "account review": "accounts.review", "account request-changes": "accounts.request_changes",
    "account approve": "accounts.approve", "account suspend": "accounts.suspend", "account resume": "accounts.resume",
    "account terminate": "accounts.terminate", "account history": "accounts.history",
    "account terms": "accounts.accept_terms", "account identity set": "accounts.set_identity",
    "account identity remove": "accounts.remove_identity", "account identity list": "accounts.show",
    "account source add": "accounts.add_list", "account source approve": "accounts.approve_list",
    "account source list": "accounts.lists", "account role add": "accounts.set_role_exceptions",
    "account role remove": "accounts.set_role_exceptions", "account role list": "accounts.show",
    "account domain add": "domains.add", "account domain remove": "domains.remove",
    "account domain verify": "domains.verify", "account domain list": "domains.list_",
    "account network add": "accounts.add_network", "account network remove": "accounts.remove_network",
    "account credential add": "credentials.add", "account credential scope": "credentials.set_scope",
    "account credential rotate": "credentials.rotate", "account credential revoke": "credentials.revoke",
    "account credential list": "credentials.list_",
    "dkim new": "keys.create", "dkim check": "keys.check", "dkim activate": "keys.activate",
    "dkim retire": "keys.retire", "dkim list": "keys.list_", "dkim show": "keys.show",
    "queue list": "queue.list_ queue.summary", "queue show": "messages.explain queue.list_",
    "queue retry": "queue.change", "queue hold": "queue.change", "queue release": "queue.change",
    "queue bounce": "queue.change", "queue reroute": "shaping.begin queue.put_off",
    "explain": "messages.explain", "lint": "messages.lint",
    "mailing add": "mailings.add", "mailing list": "mailings.list_", "mailing show": "mailings.show",
    "mailing confirm": "mailings.confirm", "mailing preview": "mailings.reference",
    "mailing release": "mailings.release", "mailing stop": "mailings.stop",
    "mailing reference list": "mailings.references", "mailing reference remove": "mailings.remove_reference",
    "complaint list": "complaints.list_", "complaint show": "complaints.show", "complaint open": "complaints.open_",
    "complaint answer": "complaints.answer", "complaint reject": "complaints.reject",
    "complaint accept": "complaints.accept", "complaint close": "complaints.close",
    "complaint cost": "complaints.add_cost",
    "complaint note": "complaints.note", "complaint export": "complaints.list_",
    "breaker list": "breakers.list_", "breaker show": "breakers.show", "breaker cancel": "breakers.cancel",
    "breaker record-trap-hit": "breakers.record_trap_hit",
    "consent add": "consents.record", "consent show": "consents.show", "consent import": "consents.import_ jobs.show",
    "consent revoke": "consents.revoke", "consent renew": "consents.contact", "consent export": "consents.export",
    "consent verify": "consents.verify", "consent findings": "consents.findings",
    "consent dismiss-finding": "consents.dismiss_finding",
    "form list": "sign-up-forms.list_", "form put": "sign-up-forms.put",
    "form show": "sign-up-forms.show sign-up-forms.html", "form close": "sign-up-forms.close",
    "privacy export": "privacy.export", "privacy erase": "privacy.erase",
    "takedown add": "takedowns.add", "takedown list": "takedowns.list_", "takedown remove": "takedowns.remove",
    "blocklist list": "blocklists.listings", "blocklist check": "blocklists.check",
    "suppression list": "suppressions.list_", "suppression show": "suppressions.show",
    "suppression add": "suppressions.add", "suppression remove": "suppressions.lift",
    "suppression export": "suppressions.list_", "suppression import": "suppressions.import_ jobs.show",
    "webhook add": "webhooks.add", "webhook list": "webhooks.list_", "webhook show": "webhooks.show",
    "webhook pause": "webhooks.pause", "webhook resume": "webhooks.resume", "webhook rotate": "webhooks.rotate",
    "webhook remove": "webhooks.remove", "webhook test": "webhooks.send_test",
    "events list": "events.list_", "events replay": "webhooks.replay",
    "shaping actions list": "shaping.list_actions", "shaping actions show": "shaping.show_action",
    "shaping actions cancel": "shaping.cancel",
    "shaping suspend": "shaping.begin", "shaping resume": "shaping.cancel", "shaping explain": "shaping.explain",
    "shaping sources": "shaping.sources", "warmup resume": "shaping.resume_warmup",
    "warmup set": "shaping.set_warmup", "reload": "service.reload",
    "user list": "users.list_", "user add": "users.add", "user login": "users.link", "user reset": "users.reset",
    "user disable": "users.disable", "user enable": "users.enable",
    "tls show": "tls.policies", "tls report": "tls.sessions",
    "token list": "tokens.list_", "token add": "tokens.add", "token revoke": "tokens.revoke",
}  # fmt: skip

# What is the command line's alone, and why; a group stands for its commands.
CLI_ONLY = {
    "serve": "runs the service", "check": "reads a file of this machine",
    "config": "reads a file of this machine", "profile": "reads files of this machine", "classify": "needs no service",
    "certificate": "of this machine's files", "trace": "shows live sessions here",
    "top": "shows this machine", "sink": "a test server", "inject": "a load generator", "man": "prints its own manual",
    "demo": "a demo",
}  # fmt: skip

# Methods of the store that only read. Those that change something are called by ``mta.admin`` alone, with a row in the
# audit.
READING = {
    "backlog", "before", "by_credential", "by_id", "compare_queued", "content", "count_states", "domains", "export",
    "facts", "find", "grant", "head", "held", "history", "key", "last", "late", "latest", "list", "look", "message",
    "messages_of", "named", "names", "names_by_id", "newest", "of", "oldest_unexpired_age", "page", "read",
    "reference_contents", "references", "show", "story", "summary", "token", "troubles", "verify", "waiting",
    "watermark", "windows",
}  # fmt: skip
CALLERS = ("cli", "web/api", "web/pages")
# What people do about their own session, and what no one decides: no row.
UNAUDITED = {("web_sessions", None), ("web_users", None), ("tls_results", None), ("messages", "enqueue_all")}


def commands(command: Any, words: tuple[str, ...] = ()) -> Iterator[str]:
    if isinstance(command, click.Group) or hasattr(command, "commands"):
        for name, each in command.commands.items():
            yield from commands(each, (*words, name))
    else:
        yield " ".join(words)


def test_each_command_has_its_operation_or_its_reason() -> None:
    known = list(commands(typer.main.get_command(build())))
    assert len(known) > 100
    left = [
        each for each in known
        if each not in PAIRS and not any(each == name or each.startswith(f"{name} ") for name in CLI_ONLY)
    ]  # fmt: skip
    assert left == []


def test_each_pair_is_of_things_that_exist() -> None:
    known = set(commands(typer.main.get_command(build())))
    ids = {operation["operationId"] for methods in openapi()["paths"].values() for operation in methods.values()}
    assert [name for name in PAIRS if name not in known] == []
    assert [each for pair in PAIRS.values() for each in pair.split() if each not in ids] == []


def store_calls(tree: ast.AST) -> Iterator[tuple[str, str]]:
    """Yield (repository, method) of each call like ``store.queue.hold(...)`` or ``context.store.queue.hold(...)``."""
    for node in ast.walk(tree):
        match node:
            case ast.Call(
                func=ast.Attribute(
                    attr=method,
                    value=ast.Attribute(
                        attr=repository, value=ast.Name(id="store") | ast.Attribute(attr="store" | "_store")
                    ),
                )
            ):
                yield repository, method


def test_only_the_service_layer_changes_what_the_store_has() -> None:
    root, found, seen = Path(mta.__file__).parent, [], 0
    for path in (path for part in CALLERS for path in sorted((root / part).rglob("*.py"))):
        for repository, method in store_calls(ast.parse(path.read_text())):
            seen += 1
            if method not in READING and not {(repository, method), (repository, None)} & UNAUDITED:
                found.append(f"{path.relative_to(root)}: {repository}.{method}")
    assert seen > 50
    assert found == []

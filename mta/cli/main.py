"""The ``mta`` command: finds the module of the command that was asked for, and imports only that.

Invariants: neither ``mta --help`` nor a command that needs no store imports the service.
"""

from __future__ import annotations

from mta.isolation import isolate

if __name__ == "__main__":
    isolate()  # before anything else is looked for

# isort: split
import importlib
import os
import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from mta.cli.options import help_markup
from mta.cli.output import errors_reported

# command -> (module with `register(app)`, or module:function; what `mta --help` says of it)
COMMANDS = {
    "serve": ("mta.cli.service.serve", "Run the service in the foreground."),
    "check": ("mta.cli.service.config:register_check", "Check a configuration file and every file it references."),
    "reload": ("mta.cli.service.reload", "Make the running service read its configuration again."),
    "user": ("mta.cli.service.user", "People who log in to the pages: operators and users of accounts."),
    "token": ("mta.cli.service.token", "Tokens of the REST API: who may use it, and for what."),
    "config": ("mta.cli.service.config", "Configuration schema, its documentation, settings in effect."),
    "account": ("mta.cli.account.accounts", "Accounts: who may submit mail, with which logins and domains."),
    "dkim": ("mta.cli.service.dkim", "DKIM keys: create, publish, check, activate, retire."),
    "queue": ("mta.cli.queue.queued", "Queued mail: what waits, where and why; retry, hold, release, bounce."),
    "shaping": ("mta.cli.shaping.commands", "Limits explained, suspensions, actions of automation rules."),
    "warmup": ("mta.cli.shaping.warmup", "Sources that warm up: planned and sent, per provider."),
    "explain": ("mta.cli.message.explain", "Everything known about one message."),
    "lint": ("mta.cli.message.lint", "Judge a message, or a changed profile, without sending anything."),
    "mailing": ("mta.cli.mailing.mailings", "Mailings: create, confirm, release, stop."),
    "complaint": ("mta.cli.complaint.cases", "Complaint cases: deadlines, answers, decisions, costs."),
    "breaker": ("mta.cli.reputation.breaker", "Circuit breakers: what they hold, and how to cancel one."),
    "blocklist": ("mta.cli.reputation.blocklist", "What blocklists say about our addresses and domains."),
    "takedown": ("mta.cli.reputation.takedown", "The takedown list: what no message may link to."),
    "profile": ("mta.cli.service.profile", "Profiles: the rules an account's mail must pass."),
    "consent": ("mta.cli.consent.ledger", "Consents: who agreed to what, and the evidence."),
    "form": ("mta.cli.consent.sign_up_forms", "Sign-up forms with double opt-in: make, embed, close."),
    "privacy": ("mta.cli.consent.privacy", "Export or erase one person's data (GDPR)."),
    "suppression": ("mta.cli.suppression.entries", "Suppressions: addresses that must not be mailed."),
    "webhook": ("mta.cli.service.webhook", "Webhooks: where an account's events are sent."),
    "events": ("mta.cli.service.events", "An account's events: list them, or send them again."),
    "classify": ("mta.cli.message.classify", "Say what a reply or a bounce message means."),
    "certificate": ("mta.cli.service.certificate", "The certificate of the SMTP listeners, and how clients trust it."),
    "tls": ("mta.cli.service.tls", "TLS towards receivers: policies of a domain, today's sessions."),
    "trace": ("mta.cli.service.trace", "Show live SMTP sessions."),
    "top": ("mta.cli.service.top", "Live rates, queue, destinations, processes and recent errors."),
    "sink": ("mta.cli.testing.sink", "A scripted SMTP receiver, to send mail to."),
    "inject": ("mta.cli.testing.inject", "Submit mail as many clients would, and measure."),
    "man": ("mta.cli.service.man", "The manual page of all commands."),
    "demo": ("mta.cli.service.demo", "Self-contained demo on this machine."),
}


class Commands(TyperGroup):
    """All commands; expected errors end any of them with one sentence and an exit status."""

    def invoke(self, ctx: Any) -> Any:
        with errors_reported():
            return super().invoke(ctx)


def build(name: str | None = None) -> typer.Typer:
    """Return the application with the command called ``name``, or with all of them."""
    app = _empty()
    for place, _ in [COMMANDS[name]] if name in COMMANDS else COMMANDS.values():
        module, _, function = place.partition(":")
        getattr(importlib.import_module(module), function or "register")(app)
    return app


def outline() -> typer.Typer:
    """Return the application with the names of all commands and their summaries only, for ``mta --help``."""
    app = _empty()
    for name, (_, summary) in COMMANDS.items():
        app.command(name, help=summary)(lambda: None)
    return app


def _empty() -> typer.Typer:
    app = typer.Typer(
        name="mta",
        cls=Commands,
        help="Imprimatur: an outbound mail transfer agent that sends only what it can vouch for.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode=help_markup(),
    )
    app.callback()(_options)
    return app


def _options(
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            help="Show the version and exit.",
            is_eager=True,
            callback=lambda wanted: _version() if wanted else None,
        ),
    ] = False,
) -> None:
    pass


def _version() -> None:
    """Show the version."""
    from importlib.metadata import version

    print(f"imprimatur-mta {version('imprimatur-mta')}")
    raise typer.Exit()


def main() -> None:
    """Run the command in ``sys.argv``, unless the code is not what was installed."""
    isolate()
    from mta.cli.installation import foreign_packages, refuse

    if foreign := foreign_packages():
        refuse(foreign)
    words = _words()
    name = words[1] if len(words) > 1 else ""
    app = build(name) if name in COMMANDS else outline()
    app()


def _words() -> list[str]:
    """Return the command line, or that which a shell wants completed."""
    if "_MTA_COMPLETE" in os.environ:
        return (os.environ.get("_TYPER_COMPLETE_ARGS") or os.environ.get("COMP_WORDS", "")).split()
    return sys.argv


if __name__ == "__main__":
    main()

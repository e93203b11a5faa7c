"""The ``mta`` command: finds the file for the subcommand that was asked for, and imports only that.

It must never import the service itself: ``mta classify`` starts in a fraction of a second because of this.

*Limits.* ``mta --help`` imports them all.
"""

from __future__ import annotations

import importlib
import sys

import typer

# subcommand -> module; each module has `register(app)`
COMMANDS = {
    "serve": "mta.cli.serve",
    "check": "mta.cli.check",
    "reload": "mta.cli.reload",
    "config": "mta.cli.config",
    "account": "mta.cli.account",
    "dkim": "mta.cli.dkim",
    "queue": "mta.cli.queue",
    "explain": "mta.cli.explain",
    "lint": "mta.cli.lint",
    "mailing": "mta.cli.mailing",
    "case": "mta.cli.case",
    "breaker": "mta.cli.breaker",
    "blocklist": "mta.cli.blocklist",
    "profile": "mta.cli.profile",
    "consent": "mta.cli.consent",
    "subject": "mta.cli.subject",
    "suppress": "mta.cli.suppress",
    "webhook": "mta.cli.webhook",
    "events": "mta.cli.events",
    "classify": "mta.cli.classify",
    "trace": "mta.cli.trace",
    "top": "mta.cli.top",
    "demo": "mta.cli.demo",
}


def build(name: str | None) -> typer.Typer:
    """The application with the one command called ``name``, or with all of them."""
    app = typer.Typer(
        name="mta",
        help="Imprimatur: an outbound mail transfer agent that sends only what it can vouch for.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
    )
    app.callback()(lambda: None)
    for module in [COMMANDS[name]] if name in COMMANDS else COMMANDS.values():
        importlib.import_module(module).register(app)
    return app


def main() -> None:
    build(sys.argv[1] if len(sys.argv) > 1 else None)()


if __name__ == "__main__":
    main()

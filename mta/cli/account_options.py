"""Arguments and options that the commands of ``mta account`` share; nothing that takes time to import."""

from __future__ import annotations

from typing import Annotated

import typer

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="The account.")]
DomainArgument = Annotated[str, typer.Argument(metavar="DOMAIN", help="A sender domain; subdomains are not included.")]
NetworkArgument = Annotated[str, typer.Argument(metavar="NETWORK", help="Such as 10.1.2.0/24, or one address.")]
CredentialArgument = Annotated[str, typer.Argument(metavar="USERNAME", help="The user name.")]
ReasonOption = Annotated[str, typer.Option("--reason", metavar="WHY", help="Why; it is kept.")]
JsonOption = Annotated[bool, typer.Option("--json", help="For machines.")]
UsernameOption = Annotated[str | None, typer.Option(help="User name; made from NAME if not given.")]


def group(text: str) -> typer.Typer:
    return typer.Typer(help=text, no_args_is_help=True, rich_markup_mode="markdown")

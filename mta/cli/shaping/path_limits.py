"""``mta shaping explain``: what holds for mail to a domain, which line says so, and what is in force now."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from mta.cli.context import load_settings
from mta.cli.options import AccountOption, ConfigOption, JsonOption, parse_domain
from mta.cli.output import print_json, print_lines
from mta.cli.shaping.scope import SourceOption
from mta.cli.shaping.site import SiteView, as_fields, look, tell


def explain(
    domain: Annotated[str, typer.Argument(metavar="DOMAIN", help="A recipient domain.")],
    source: SourceOption = None,
    account: AccountOption = None,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Show the limits for mail to DOMAIN, the line that sets each, and what holds it up now."""
    from mta.admin.sites import site_of_domain

    settings, domain = load_settings(config), parse_domain(domain)

    async def view() -> SiteView:
        return await look(settings, config, await site_of_domain(settings, domain), source, account)

    found = asyncio.run(view())
    if as_json:
        print_json(as_fields(found))
    else:
        print_lines(tell(found))

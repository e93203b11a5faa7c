"""``mta explain``: everything that is known of one message, in order, with the reasons."""

from __future__ import annotations

from typing import Annotated

import typer

from mta.cli.context import load_settings, with_store
from mta.cli.options import ConfigOption
from mta.cli.output import fail


def register(app: typer.Typer) -> None:
    app.command("explain")(explain)


def explain(
    message: Annotated[str, typer.Argument(metavar="ID", help="The id in our answer `250 2.0.0 OK: queued as ID`.")],
    as_json: Annotated[bool, typer.Option("--json", help="All of it as one JSON object.")] = False,
    config: ConfigOption = None,
) -> None:
    """Where a message came from, what was checked, every attempt and why it ended so, and what comes next."""
    from datetime import UTC, datetime

    import orjson
    from rich.console import Console

    from mta.cli.story import as_data, tell
    from mta.mail.address import Address
    from mta.mail.identity import parse_id
    from mta.store.queue.explain import Story
    from mta.store.store import Store
    from policy.base import Suppression

    try:
        wanted = parse_id(message)
    except ValueError as error:
        fail(f"mta explain: {error}", status=2)

    async def ask(store: Store) -> tuple[Story, list[Suppression]] | None:
        story = await store.explain.message(wanted)
        if story is None:
            return None
        addresses = [Address(*recipient.rsplit("@", 1)) for recipient in story.recipients]
        return story, await store.suppressions.find(story.account_id, addresses)

    found = with_store(load_settings(config), ask)
    if found is None:
        fail(f"mta explain: there is no record of {message}; records are kept for retention.messages")
    if as_json:
        print(orjson.dumps(as_data(*found), default=str, option=orjson.OPT_INDENT_2).decode())
        return
    console = Console(highlight=False, soft_wrap=True)
    for text, style in tell(*found, datetime.now(UTC)):
        console.print(text, style=style or None, markup=False)

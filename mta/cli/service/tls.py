"""``mta tls``: which TLS policies apply to a domain and why, and what TLS reports will say of today."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from mta.cli.context import load_settings, with_admin
from mta.cli.options import ConfigOption, JsonOption, LimitOption, group, parse_domain
from mta.cli.output import Column, print_details, print_json, print_table

if TYPE_CHECKING:
    from mta.mail.tls_session import SessionCount


def register(app: typer.Typer) -> None:
    commands = group(
        "TLS towards receivers: policies of a domain, today's sessions.", ("show", show), ("report", report)
    )
    app.add_typer(commands, name="tls")


def show(
    domain: Annotated[str, typer.Argument(help="Recipient domain.")],
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Look up what applies to mail for a domain, host by host: DANE, MTA-STS, our settings.

    A policy that is not known yet is fetched, and kept for the service.
    """
    from mta.admin.service import receiver_tls

    found = with_admin(
        load_settings(config), lambda context: receiver_tls.look_up(context, parse_domain(domain.rstrip(".")))
    )
    if as_json:
        print_json(found)
        return
    details = [(key, _words(value)) for key, value in found.items() if key not in ("domain", "hosts")]
    print_details(str(found["domain"]), details)
    rows = [(each["host"], each["demand"], each["by"], "; ".join(each["tlsa"])) for each in found["hosts"]]
    print_table(
        (Column("host", whole=True), "demanded", Column("by", whole=True), Column("TLSA", whole=True)),
        rows,
        empty="No host.",
    )


def report(
    domain: Annotated[str | None, typer.Argument(help="Only this recipient domain.")] = None,
    limit: LimitOption = 100,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Show today's TLS sessions (UTC) by recipient domain and policy, as TLS reports will tell of them."""
    from mta.admin.service import receiver_tls

    settings = load_settings(config)
    counts = with_admin(settings, lambda context: receiver_tls.sessions_today(context, domain, limit=limit))
    if as_json:
        print_json(
            [{"domain": each.domain, "day": each.day, **receiver_tls.report_of(settings, each)} for each in counts]
        )
        return
    rows = [
        (each.domain, each.policy.kind.value, str(each.successful), str(each.failed), _failures(each))
        for each in counts
    ]
    print_table(
        (Column("domain", whole=True), "policy", "successful", "failed", Column("failures", whole=True)),
        rows,
        empty="No sessions today.",
    )


def _failures(count: SessionCount) -> str:
    return ", ".join(f"{failure.result.value} ({sessions})" for failure, sessions in count.failures.most_common())


def _words(value: dict[str, Any] | str) -> str:
    """Write nested values on one line."""
    if isinstance(value, str):
        return value
    if value["policy"] is None:
        return value["fault"] or ("no policy" if value["record"] is None else f"record {value['record']}, no policy")
    fault = f"; last fetch: {value['fault']}" if value["fault"] else ""
    return f"record {value['record'] or 'none'}: {', '.join(value['policy'])}{fault}"

"""``/v1/tls``: TLS towards receivers: which policies apply to a domain and why, and today's sessions."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Any

from fastapi import Query

from mta.admin.service import receiver_tls
from mta.web.api.domains import DomainInPath
from mta.web.api.fields import DomainField, Model
from mta.web.api.routing import ApiRouter, Context

router = ApiRouter("tls")

READ = "shaping:read"


class StsPolicyItem(Model):
    """``record``: the id of the TXT record; ``policy``: its lines; ``fault``: why it could not be fetched."""

    record: str | None
    policy: list[str] | None
    fault: str | None


class TlsHostItem(Model):
    """``demand``: what TLS a connection must have; ``by``: what demands it."""

    host: str
    demand: str
    by: str
    tlsa: list[str]


class DomainTlsItem(Model):
    """``settings``: the configured policy; ``dane``, ``mta_sts``: whether they apply, or why not."""

    domain: str
    site: str
    settings: str
    dane: str
    mta_sts: StsPolicyItem | str
    hosts: list[TlsHostItem]


class TlsSessionsItem(Model):
    """``report``: what a TLS report (RFC 8460) will tell of them."""

    domain: str
    day: date
    successful: int
    failed: int
    report: dict[str, Any]


@router.operation("GET", "/sessions", READ)
async def sessions(
    context: Context,
    domain: Annotated[DomainField | None, Query(description="Only this recipient domain.")] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> list[TlsSessionsItem]:
    """Return today's TLS sessions (UTC) by recipient domain and policy."""
    return [
        TlsSessionsItem(
            domain=each.domain,
            day=each.day,
            successful=each.successful,
            failed=each.failed,
            report=receiver_tls.report_of(context.settings, each),
        )
        for each in await receiver_tls.sessions_today(context, domain, limit=limit)
    ]


@router.operation("GET", "/policies/{domain}", READ)
async def policies(context: Context, domain: DomainInPath) -> DomainTlsItem:
    """Look up what applies to mail for a domain, host by host: DANE, MTA-STS, the configuration."""
    return DomainTlsItem.model_validate(await receiver_tls.look_up(context, domain))

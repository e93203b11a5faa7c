"""The pages: those for machines that watch, those for recipients, and the webhooks that tell accounts.

It must never hold behaviour.
"""

# ruff: noqa: RUF012 (pydantic copies a mutable default for each instance)
from __future__ import annotations

from typing import Annotated

from pydantic import Field

from config.types import Access, Duration, File, Network, Port, Section, default


class PublicPagesSettings(Section):
    """Pages for recipients: unsubscribing. A port of its own, so that nothing else is shown to the world."""

    address: str = "127.0.0.1"
    """Address to listen on; `::` for all. Needs a restart."""
    port: Port | None = None
    """TCP port; off without it. Needs a restart."""
    url: str | None = None
    """How these pages are reached from outside, e.g. `https://mail.example.com`: unsubscribe links lead there. Without
    it a profile that requires such links refuses marketing mail."""
    certificate: Annotated[File | None, Access.READ] = None
    """PEM file with the chain, for HTTPS without a reverse proxy; without it plain HTTP. Read again at a reload."""
    key: Annotated[File | None, Access.PRIVATE] = None
    """PEM file with the private key; must not be readable by others."""
    proxy_from: list[Network] = []
    """Reverse proxies whose X-Forwarded-For is believed."""
    rate: float = Field(50, gt=0)
    """Requests a second of one client address (IPv6: of one /64); more get 429. Providers unsubscribe many from few."""
    burst: int = Field(1000, ge=1)
    """Requests that one client may make at once before its rate counts."""


class WebhookSettings(Section):
    """Sending accounts' events to their webhooks (docs/webhooks.md)."""

    timeout: Duration = default("30s")
    """Longest wait for a receiver's answer."""
    concurrency: int = Field(20, ge=1, le=500)
    """Requests under way at once; of one webhook there is never more than one."""
    alert_after: int = Field(5, ge=1)
    """Failures in a row after which a webhook counts as failing: in the log, the events and the metrics."""


class WebSettings(Section):
    """HTTP: `/metrics`, `/healthz`, `/readyz`."""

    address: str = "127.0.0.1"
    """Address to listen on. Needs a restart."""
    port: Port = 8025
    """TCP port. Needs a restart."""
    public: PublicPagesSettings = PublicPagesSettings()
    """Pages for recipients."""
    webhooks: WebhookSettings = WebhookSettings()
    """Webhooks."""

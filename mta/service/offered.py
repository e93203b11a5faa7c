"""What the service offers once it is ready, for the log: version, ports, database. No secret is in it."""

from __future__ import annotations

from importlib.metadata import version
from urllib.parse import urlsplit

from config.schema import Settings


def offered(settings: Settings) -> dict[str, object]:
    """Return the fields of the line "ready"."""
    web, url = settings.web, settings.database.url
    public = web.public if web.public and web.public.port else None
    return {
        "version": version("imprimatur-mta"),
        "submission": [f"{each.place} {each.tls.value}" for each in settings.submission.listeners],
        "reports": [each.place for each in settings.reports.listeners],
        "web": f"{web.address}:{web.port}",
        "public": f"{public.address}:{public.port}" if public else None,
        "admin": f"{web.admin.address}:{web.admin.port}" if web.admin.port else None,
        "database": _without_secrets(url) if url else f"its own, in {settings.server.data_dir}",
    }


def _without_secrets(url: str) -> str:
    """Return host, port and name of a database; user, password and options are left out."""
    parts = urlsplit(url)
    return f"{parts.hostname or 'local socket'}{f':{parts.port}' if parts.port else ''}{parts.path}"

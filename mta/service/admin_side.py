"""The API and the pages for operators and accounts, with what they submit messages by.

It is imported by the first request (``web_process.AdminListener`` listens before): it takes 30 MiB, which a service
without such requests does not need.
"""

from __future__ import annotations

from config.schema import Settings
from mta.admin.service.reload import ServiceControl
from mta.observe.background import BackgroundTasks
from mta.observe.disk import DiskWatch
from mta.observe.metrics import Metrics
from mta.service.control_channel import Start
from mta.service.http_submission import HttpSubmission
from mta.service.loaded import LoadedSubmission
from mta.store.postgres.secrets import Secrets
from mta.store.store import Store
from mta.web.admin import AdminPort
from mta.web.pages.rates import RateHistory
from mta.web.readiness import ServiceReadiness


class AdminSide:
    """``app`` is what a server serves, once ``start`` has read the keys."""

    def __init__(
        self,
        start: Start,
        settings: Settings,
        store: Store,
        secrets: Secrets,
        metrics: Metrics,
        readiness: ServiceReadiness,
        disk: DiskWatch,
        link: ServiceControl,
        rates: RateHistory,
    ) -> None:
        """Raises ConfigError."""
        self._secrets = secrets
        loaded = LoadedSubmission.of(settings, secrets)
        self.submission = HttpSubmission(start, settings, store, loaded, metrics, disk)
        self._port = AdminPort(
            store,
            settings,
            lambda: loaded.profiles,
            readiness,
            self.submission.sender,
            start.config_file,
            metrics,
            link,
            rates,
        )
        self.app = self._port.app

    async def start(self, tasks: BackgroundTasks) -> None:
        """Raises StoreUnavailable."""
        await self.submission.start(tasks)

    def configure(self, settings: Settings) -> None:
        """Apply reloaded settings. Raises ConfigError; then nothing has changed."""
        loaded = LoadedSubmission.of(settings, self._secrets)
        self.submission.configure(settings, loaded)
        self._port.configure(settings, lambda: loaded.profiles)

    async def close(self) -> None:
        await self._port.imports.close()
        await self.submission.close()
        self._port.pages.close()

"""Submission over HTTP: the chain of the workers, in the web process, which delivers nothing itself.

Invariants: the same rules, keys, quotas and limits as in a worker.
Limitations: memory for messages is counted per process (`submission.limits.message_memory`).
"""

from __future__ import annotations

import asyncio

from config.schema import Limits, Settings
from mta.admin.sending import MessageSender
from mta.dkim import KeyRing, Signer
from mta.observe.background import BackgroundTasks
from mta.observe.disk import DiskWatch
from mta.observe.metrics import Metrics
from mta.service.control_channel import Start
from mta.service.event_log import open_events, reopen_events
from mta.service.loaded import LoadedSubmission
from mta.service.stored_keys import follow_stored_keys
from mta.smtp_server.limits import MemoryBudget
from mta.smtp_server.spool import Spool
from mta.store.store import Store
from mta.submission.accept import Submission


class HttpSubmission:
    """What the API hands messages to: ``sender``. ``start`` reads the keys, before which nothing is signed."""

    def __init__(
        self,
        start: Start,
        settings: Settings,
        store: Store,
        loaded: LoadedSubmission,
        metrics: Metrics,
        disk: DiskWatch | None = None,
    ) -> None:
        """Raises ConfigError."""
        self._settings, self._store, self._metrics = settings, store, metrics
        self._keys = KeyRing()
        self._keys.configure(loaded.keys)
        self._signer = Signer(settings.signing, self._keys)
        self.events = open_events(settings, store.accounts, metrics)
        self._submission = Submission(
            settings=settings,
            store=store,
            signer=self._signer,
            profiles=loaded.profiles,
            traps=loaded.traps,
            events=self.events,
            metrics=metrics,
            disk=disk,
        )
        limits = Limits.of(settings.submission.limits)
        self._spool = Spool(start.run_dir, limits.message_disk)
        self.sender = MessageSender(self._submission, limits, MemoryBudget(limits.message_memory), self._spool)
        self._following: asyncio.Task[None] | None = None

    async def start(self, tasks: BackgroundTasks) -> None:
        """Raises StoreUnavailable."""
        self._following = await follow_stored_keys(self._store, self._keys, tasks)

    def configure(self, settings: Settings, loaded: LoadedSubmission) -> None:
        """Apply reloaded settings; messages under way keep those that they began with. Raises ConfigError; then nothing
        has changed."""
        reopen_events(self.events, self._settings, settings, self._metrics)
        self._settings = settings
        self._keys.configure(loaded.keys)
        self._signer.configure(settings.signing)
        self._submission.configure(settings, self._signer, loaded.profiles, loaded.traps)
        limits = Limits.of(settings.submission.limits)
        self.sender.limits, self.sender.budget.most = limits, limits.message_memory
        self._spool.most = limits.message_disk

    async def close(self) -> None:
        if self._following:
            self._following.cancel()
            await asyncio.gather(self._following, return_exceptions=True)
        self._spool.close()
        self.events.close()

"""The store: everything that is kept, behind one door.

It must never be reached around: nothing outside ``mta.store`` knows SQL.

*Limits.* One database; growing beyond it is PostgreSQL's business.
"""

from __future__ import annotations

from collections.abc import Callable

from bounce.suppression import Patience
from config import schema
from mta.observe.metrics import Metrics
from mta.store import accounts, breakers, mailings
from mta.store.accounts import Accounts
from mta.store.allowances import Allowances
from mta.store.breakers import Breakers
from mta.store.cases import Cases
from mta.store.consents import Consents
from mta.store.credentials import Credentials
from mta.store.database import Database
from mta.store.domains import Domains
from mta.store.errors import LeaseLost, OutcomeUnknown, SchemaError, StoreUnavailable
from mta.store.events import Events
from mta.store.explain import Explain
from mta.store.incoming import Incoming
from mta.store.judgements import Judgements
from mta.store.keys import Keys
from mta.store.lease import Lease
from mta.store.listings import Listings
from mta.store.mailings import Mailings
from mta.store.messages import Messages
from mta.store.outbox import Outbox
from mta.store.queue import Queue
from mta.store.recipients import Recipients
from mta.store.refusals import Refusals
from mta.store.returning import Returning
from mta.store.reviews import Reviews
from mta.store.secrets import Secrets
from mta.store.standings import Standings
from mta.store.subjects import Subjects
from mta.store.suppressions import Suppressions
from mta.store.unsubscribes import Unsubscribes
from mta.store.webhooks import Webhooks

__all__ = ["LeaseLost", "OutcomeUnknown", "SchemaError", "Store", "StoreUnavailable"]


class Store:
    """``Store.open`` makes one; each process has its own."""

    def __init__(
        self, database: Database, settings: schema.Database, secrets: Secrets, metrics: Metrics | None
    ) -> None:
        self._database = database
        self.lease = Lease(database, settings.lease)
        self.messages = Messages(database, self.lease, secrets, metrics)
        self.accounts = Accounts(database)
        self.standings = Standings(self.accounts)
        self.credentials = Credentials(self.accounts)
        self.domains = Domains(database, self.accounts)
        self.reviews = Reviews(self.accounts)
        self.mailings = Mailings(database)
        self.breakers = Breakers(database)
        self.listings = Listings(database)
        self.suppressions = Suppressions(database, secrets, metrics)
        self.recipients = Recipients(database, secrets, metrics)
        self.consents = Consents(database, secrets)
        self.unsubscribes = Unsubscribes(database)
        self.incoming = Incoming(database)
        self.returning = Returning(database, secrets)
        self.subjects = Subjects(database, secrets, self.consents, self.suppressions)
        self.allowances = Allowances(database)
        self.refusals = Refusals(database)
        self.cases = Cases(database, self.accounts, secrets)
        self.keys = Keys(database, secrets)
        self.events = Events(database)
        self.outbox = Outbox(database)
        self.webhooks = Webhooks(database, secrets)
        self.queue = Queue(database)
        self.explain = Explain(database)
        self.judgements = Judgements(database)

    @classmethod
    async def open(cls, dsn: str, settings: schema.Database, secrets: Secrets, metrics: Metrics | None = None) -> Store:
        """The store on a migrated database. Raises StoreUnavailable if it cannot be reached now."""
        store = cls(await Database.connect(dsn, settings), settings, secrets, metrics)
        await store.listen(accounts.CHANNEL, store.accounts.changed)
        await store.accounts.start()
        for channel in (mailings.CHANNEL, accounts.CHANNEL):  # an approved list is news of the account
            await store.listen(channel, store.mailings.changed)
        await store.mailings.start()
        await store.listen(breakers.CHANNEL, store.breakers.changed)
        await store.breakers.start()
        return store

    def configure(self, patience: Patience) -> None:
        """What bounces do to addresses from now on; that of the settings' defaults if never called."""
        self.messages.patience = self.suppressions.patience = self.returning.patience = patience

    async def close(self) -> None:
        """Let go of all connections. What is still pending fails: drain first."""
        await self.allowances.stop()
        await self.refusals.stop()
        await self.breakers.stop()
        await self.mailings.stop()
        await self.accounts.stop()
        await self._database.close()

    async def ping(self) -> None:
        """Raises StoreUnavailable if the database does not answer in time."""
        async with self._database.session() as connection:
            await connection.execute("select 1")

    async def listen(self, channel: str, callback: Callable[[str | None], None]) -> None:
        """Call ``callback`` for each notification; with None when some may have been missed."""
        await self._database.listen(channel, callback)

"""The store: the one interface to everything that is kept.

Invariants: nothing outside ``mta.store`` knows SQL.

Limitations: one database; scaling beyond it is up to PostgreSQL.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from bounce.suppression import SoftBounceThresholds
from config import schema
from mta.observe.background import BackgroundTasks
from mta.observe.metrics import Metrics
from mta.store.accounts import accounts, api_tokens
from mta.store.accounts.account_status import AccountStatuses
from mta.store.accounts.accounts import Accounts
from mta.store.accounts.api_tokens import ApiTokens
from mta.store.accounts.credentials import Credentials
from mta.store.accounts.dkim_keys import DkimKeys
from mta.store.accounts.domains import Domains
from mta.store.accounts.quotas import Quotas
from mta.store.accounts.repeated_texts import RepeatedTexts
from mta.store.accounts.reviews import Reviews
from mta.store.accounts.web_sessions import WebSessions
from mta.store.accounts.web_users import WebUsers
from mta.store.journal.audit import Audit
from mta.store.journal.events import Events
from mta.store.journal.idempotency import Idempotency
from mta.store.journal.jobs import Jobs
from mta.store.journal.outbox import Outbox
from mta.store.journal.recipient_activity import RecipientActivity
from mta.store.journal.screening_history import Rejections, ScreeningHistory
from mta.store.journal.webhooks import WebhookStore
from mta.store.mailings import mailings
from mta.store.mailings.mailings import Mailings
from mta.store.permission.address_lists import AddressLists
from mta.store.permission.consents import Consents
from mta.store.permission.recipients import Recipients
from mta.store.permission.sign_ups import SignUps
from mta.store.permission.suppressions import Suppressions
from mta.store.permission.unsubscribes import Unsubscribes
from mta.store.postgres.database import Database
from mta.store.postgres.errors import LeaseLost, OutcomeUnknown, SchemaError, StoreFull, StoreUnavailable
from mta.store.postgres.secrets import Secrets
from mta.store.privacy.data_subjects import DataSubjects
from mta.store.queue.backoffs import Backoffs
from mta.store.queue.clock import Clock
from mta.store.queue.content_ring import ContentRing
from mta.store.queue.egress_limits import EgressLimits
from mta.store.queue.explain import Explain
from mta.store.queue.lease import Lease
from mta.store.queue.message_search import MessageSearch
from mta.store.queue.messages import Messages
from mta.store.queue.queue import Queue
from mta.store.queue.sts_policies import StsPolicyStore
from mta.store.queue.tls_results import TlsResults
from mta.store.reputation import breakers, shaping_actions, takedowns
from mta.store.reputation.blocklist_listings import BlocklistListings
from mta.store.reputation.breakers import Breakers
from mta.store.reputation.cases import Cases
from mta.store.reputation.delivery_figures import DeliveryFigures
from mta.store.reputation.reply_counts import ReplyCounts
from mta.store.reputation.shaping_actions import ShapingActions
from mta.store.reputation.source_checks import SourceChecks
from mta.store.reputation.takedowns import Takedowns
from mta.store.reputation.warmup import WarmupDays
from mta.store.results.apply_report import Reports
from mta.store.results.delivery_results import DeliveryResults
from mta.store.results.report_queue import ReportQueue

__all__ = ["LeaseLost", "OutcomeUnknown", "SchemaError", "Store", "StoreFull", "StoreUnavailable"]


class Store:
    """``Store.open`` makes one; each process has its own."""

    def __init__(
        self, database: Database, settings: schema.DatabaseSettings, secrets: Secrets, metrics: Metrics | None
    ) -> None:
        self._database = database
        self.lease = Lease(database, settings.lease)
        self.clock = Clock(database, metrics)
        self.messages = Messages(database, self.lease, secrets, metrics)
        self.content_ring = ContentRing(database)
        self.results = DeliveryResults(database, secrets)
        self.accounts = Accounts(database)
        self.account_status = AccountStatuses(self.accounts)
        self.credentials = Credentials(self.accounts)
        self.api_tokens = ApiTokens(database)
        self.audit = Audit(database)
        self.web_users = WebUsers(database, secrets)
        self.web_sessions = WebSessions(database)
        self.jobs = Jobs(database)
        self.idempotency = Idempotency(database, secrets)
        self.domains = Domains(database, self.accounts)
        self.reviews = Reviews(self.accounts)
        self.mailings = Mailings(database)
        self.breakers = Breakers(database)
        self.shaping_actions = ShapingActions(database)
        self.reply_counts = ReplyCounts(database)
        self.warmup_days = WarmupDays(database)
        self.delivery_figures = DeliveryFigures(database)
        self.source_checks = SourceChecks(database)
        self.blocklist_listings = BlocklistListings(database)
        self.takedowns = Takedowns(database)
        self.suppressions = Suppressions(database, secrets, metrics)
        self.recipients = Recipients(database, secrets, metrics)
        self.recipient_activity = RecipientActivity(database, secrets)
        self.consents = Consents(database, secrets)
        self.address_lists = AddressLists(database)
        self.unsubscribes = Unsubscribes(database)
        self.sign_ups = SignUps(database, secrets, self.consents)
        self.report_queue = ReportQueue(database)
        self.reports = Reports(database, secrets)
        self.data_subjects = DataSubjects(database, secrets, self.consents, self.suppressions)
        self.quotas = Quotas(database)
        self.repeated_texts = RepeatedTexts(database)
        self.rejections = Rejections(database)
        self.cases = Cases(database, self.accounts, secrets)
        self.dkim_keys = DkimKeys(database, secrets)
        self.events = Events(database)
        self.outbox = Outbox(database)
        self.webhooks = WebhookStore(database, secrets)
        self.queue = Queue(database)
        self.backoffs = Backoffs(database)
        self.egress_limits = EgressLimits(database, self.lease)
        self.sts_policies = StsPolicyStore(database)
        self.tls_results = TlsResults(database)
        self.explain = Explain(database)
        self.message_search = MessageSearch(database)
        self.screening_history = ScreeningHistory(database)

    @classmethod
    async def open(
        cls,
        dsn: str,
        settings: schema.DatabaseSettings,
        secrets: Secrets,
        metrics: Metrics | None = None,
        tasks: BackgroundTasks | None = None,
    ) -> Store:
        """The store on a migrated database. Raises StoreUnavailable if it cannot be reached now.

        ``tasks``: those of the process; the store adds its own.
        """
        store = cls(await Database.connect(dsn, settings, tasks), settings, secrets, metrics)
        await store.listen(accounts.CHANNEL, store.accounts.changed)
        await store.accounts.start()
        for channel in (mailings.CHANNEL, accounts.CHANNEL):  # an approved list is news of the account
            await store.listen(channel, store.mailings.changed)
        await store.mailings.start()
        await store.listen(api_tokens.CHANNEL, store.api_tokens.changed)
        await store.listen(breakers.CHANNEL, store.breakers.changed)
        await store.breakers.start()
        await store.listen(shaping_actions.CHANNEL, store.shaping_actions.changed)
        await store.shaping_actions.start()
        await store.listen(takedowns.CHANNEL, store.takedowns.changed)
        await store.takedowns.start()
        return store

    def configure(self, thresholds: SoftBounceThresholds) -> None:
        """Set when bounces suppress an address; the defaults of the settings apply if never called."""
        self.results.thresholds = self.reports.thresholds = thresholds

    async def close(self) -> None:
        """Let go of all connections. What is still pending fails: drain first."""
        await self.quotas.stop()
        await self.warmup_days.stop()
        await self.repeated_texts.stop()
        await self.rejections.stop()
        await self.takedowns.stop()
        await self.reply_counts.stop()
        await self.shaping_actions.stop()
        await self.breakers.stop()
        await self.mailings.stop()
        await self.accounts.stop()
        await self._database.close()

    async def ping(self) -> None:
        """Raises StoreUnavailable if the database does not answer in time."""
        async with self._database.session() as connection:
            await connection.execute("select 1")

    async def check_write(self) -> datetime:
        """Commit something that leaves no trace; return the database's time. Raises StoreUnavailable, StoreFull."""
        async with self._database.session() as connection:
            await connection.execute("select pg_logical_emit_message(true, 'imprimatur', 'readiness')")
            now: datetime = await connection.fetchval("select clock_timestamp()")
            return now

    @property
    def is_full(self) -> bool:
        """Whether the database said within the last seconds that its disk is full."""
        return bool(self._database.full)

    async def listen(self, channel: str, callback: Callable[[str | None], None]) -> None:
        """Call ``callback`` for each notification; with None when some may have been missed."""
        await self._database.listen(channel, callback)

"""From a client's message to 250: what is refused, what is changed, and what is committed."""

from __future__ import annotations

import asyncio
import gc
import re
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from config.schema import PolicySettings, QueueSettings, ServerSettings, Settings, SigningSettings
from mta.mail.address import Address
from mta.mail.delivery import Delivery
from mta.mail.hold import HoldSource
from mta.mail.message import Envelope, Recipient, SenderTls
from mta.mail.reply import Reply
from mta.observe.disk import DiskWatch
from mta.observe.events import EventLog
from mta.observe.metrics import Metrics
from mta.observe.sink import NoSink
from mta.queue.active_queue import ActiveQueue, Job
from mta.service.composition import open_profiles
from mta.smtp_server.handler import Client
from mta.store.journal.record_details import unpack
from mta.store.postgres.errors import OutcomeUnknown, StoreUnavailable
from mta.store.postgres.secrets import Secrets
from mta.store.queue.enqueue import NewMessage, Queued
from mta.store.queue.messages import Placed
from mta.store.store import Store
from mta.submission.accept import Submission, SubmissionTransaction
from mta.submission.prepare import Prepared, Submitter
from policy.accounts.account import Account, AccountStatus, Grant
from policy.base import Facts, RecipientFacts
from policy.permission.traps import TrapAddresses
from policy.text.message_text import MessageText
from tests.unit.mta.observe.test_disk import a_disk
from tests.unit.mta.store.make import accepted, count, until

ACCOUNT = Account(1, "acme", frozenset({"acme.example"}))
HEADERS = b"From: shop@acme.example\r\nDate: Mon, 3 Mar 2025 09:30:00 +0000\r\nMessage-ID: <1@acme.example>\r\n"
CONTENT = HEADERS + b"Subject: Hello\r\n\r\nOne line.\r\n"


class Signer:
    """Signs for acme.example."""

    def sign(self, headers: object, body: bytes, domain: str, *, tag: bytes | None = None) -> bytes:
        return b"DKIM-Signature: v=1\r\n" if domain == "acme.example" else b""

    def records(self, domain: str) -> list[str]:
        return [f"s1._domainkey.{domain}"]


class Attachment:
    """A body on disk. ``kept``: texts of the whole message that somebody holds while it is read to be hashed."""

    def __init__(self, body: bytes) -> None:
        self._body = body
        self.size = len(body)
        self.kept: list[MessageText] = []

    async def pieces(self) -> AsyncIterator[bytes]:
        gc.collect()
        texts = [each for each in gc.get_objects() if isinstance(each, MessageText)]
        self.kept += [each for each in texts if each._content.endswith(self._body)]
        yield self._body

    async def whole(self) -> bytes:
        return CONTENT.partition(b"\r\n\r\n")[0] + b"\r\n\r\n" + self._body


class Rig:
    def __init__(
        self, store: Store, window: ActiveQueue, signer: Any, settings: Settings, disk: DiskWatch | None
    ) -> None:
        self.store, self.window = store, window
        self.dispatched: list[Job] = []
        self.client = Client("s1", ip_address("192.0.2.1"), "app.acme.example", extended=True, account=ACCOUNT)
        self.submission = Submission(
            settings=settings,
            store=store,
            signer=signer,
            profiles=open_profiles(settings, Secrets(bytes(32))),
            traps=TrapAddresses.load(settings.policy.trap_addresses),
            active_queue=window,
            dispatch=self.dispatched.extend,
            events=EventLog(NoSink()),
            metrics=Metrics(),
            disk=disk,
        )

    async def accept(self, *to: str, content: bytes = CONTENT, sender: str | None = "shop@acme.example") -> Reply:
        return await self.transaction(sender).on_message(envelope(*to, sender=sender), content)

    def transaction(self, sender: str | None = "shop@acme.example") -> SubmissionTransaction:
        """A transaction as MAIL begins it, whatever MAIL would say."""
        assert self.client.account
        submitter = Submitter(self.client.account, self.client.grant)
        return SubmissionTransaction(self.submission, self.client, submitter, envelope(sender=sender))

    async def mail(self, sender: str | None = "shop@acme.example") -> SubmissionTransaction | Reply:
        return await self.submission.on_sender(self.client, envelope(sender=sender), None)

    async def recipient(self, to: str) -> Reply | None:
        return await self.transaction().on_recipient(Recipient(Address.parse(to)))

    async def stored(self) -> bytes:
        """The content of the only message."""
        async with self.store._database.session() as connection:
            return await self.store.messages.content(await connection.fetchval("select id from message"))

    async def row(self, columns: str) -> Any:
        async with self.store._database.session() as connection:
            return await connection.fetchval(f"select {columns} from queue limit 1")


def envelope(*to: str, sender: str | None = "shop@acme.example") -> Envelope:
    recipients = tuple(Recipient(Address.parse(each)) for each in to or ("ann@example.net",))
    return Envelope(Address.parse(sender) if sender else None, recipients)


def make(
    store: Store,
    *,
    window: ActiveQueue | None = None,
    signer: Any = None,
    disk: DiskWatch | None = None,
    **sections: Any,
) -> Rig:
    settings = Settings(server=ServerSettings(hostname="mta.acme.example"), **sections)
    return Rig(store, window or ActiveQueue(100, 10**6), signer or Signer(), settings, disk)


async def test_250_means_committed_and_in_memory(store: Store) -> None:
    rig = make(store)
    transaction = rig.transaction()
    transaction.checked_at = 12.5
    reply = await transaction.on_message(envelope("ann@example.net", "ben@example.org", "cat@example.net"), CONTENT)
    assert (reply.code, reply.status) == (250, "2.0.0")
    assert await count(store, "queue where lease is not null") == 3
    assert [each.delivery.destination for each in rig.dispatched] == ["example.net", "example.org"]
    assert {each.checked_at for each in rig.dispatched} == {12.5}
    assert rig.window.deliveries == 2
    for each in rig.dispatched:
        assert each.delivery.content == await rig.stored()
        each.release()
    assert (rig.window.deliveries, rig.window.octets) == (0, 0)


async def test_a_large_message_is_held_whole_only_while_it_is_judged(store: Store) -> None:
    rig, large = make(store), Attachment(b"a line of the attachment\r\n" * 100)
    head = CONTENT.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
    reply = await rig.transaction().on_message(envelope("ann@example.net"), head, large)
    assert reply.code == 250
    assert large.kept == []


async def test_it_is_signed_and_traced_on_top(store: Store) -> None:
    rig = make(store)
    await rig.accept()
    content = await rig.stored()
    assert content.startswith(b"DKIM-Signature: v=1\r\nReceived: from app.acme.example ([192.0.2.1])\r\n\tby mta.acme")
    assert b"for <ann@example.net>;" in content
    assert content.endswith(CONTENT)


@pytest.mark.parametrize(
    ("field", "asked", "kept"),
    [
        (b"TLS-Required: No\r\n", SenderTls.AS_POLICY, SenderTls.OPTIONAL),
        (b"TLS-Required: no \r\n", SenderTls.AS_POLICY, SenderTls.OPTIONAL),
        (b"TLS-Required: Yes\r\n", SenderTls.AS_POLICY, SenderTls.AS_POLICY),
        (b"TLS-Required: No\r\n", SenderTls.REQUIRED, SenderTls.REQUIRED),
        (b"", SenderTls.REQUIRED, SenderTls.REQUIRED),
    ],
)
async def test_what_the_sender_wants_of_tls(store: Store, field: bytes, asked: SenderTls, kept: SenderTls) -> None:
    rig = make(store)
    assert (await rig.transaction().on_message(replace(envelope(), tls=asked), field + CONTENT)).code == 250
    (job,) = rig.dispatched
    assert job.delivery.tls is kept
    job.release()


async def test_no_recipient_is_told_of_the_others(store: Store) -> None:
    rig = make(store)
    await rig.accept("ann@example.net", "ben@example.net")
    assert b"for <" not in (await rig.stored()).partition(b"From:")[0]


async def test_without_room_it_waits_in_the_store(store: Store) -> None:
    rig = make(store, window=ActiveQueue(1, 10**6))
    assert (await rig.accept("ann@example.net", "ben@example.org")).code == 250
    assert rig.dispatched == []
    assert await count(store, "queue where lease is null and due_at <= now()") == 2
    assert rig.window.deliveries == 0


async def test_without_a_valid_lease_it_waits_in_the_store(store: Store) -> None:
    rig = make(store)
    store.lease._until = 0.0
    assert (await rig.accept()).code == 250
    assert rig.dispatched == []
    assert (rig.window.deliveries, rig.window.octets) == (0, 0)


async def test_no_room_stays_taken_when_the_store_is_away(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    async def away(*_: object, **__: object) -> None:
        raise StoreUnavailable("away")

    monkeypatch.setattr(store.messages, "enqueue_all", away)
    rig = make(store)
    with pytest.raises(StoreUnavailable):
        await rig.accept("ann@example.net", "ben@example.org")
    assert (rig.window.deliveries, rig.window.octets, rig.dispatched) == (0, 0, [])


async def test_a_client_that_goes_away_in_the_commit_leaves_nothing(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig, put, begun = make(store), store.messages.enqueue_all, asyncio.Event()

    async def slow(*given: Any, **more: Any) -> Sequence[Delivery]:
        begun.set()
        return await put(*given, **more)

    monkeypatch.setattr(store.messages, "enqueue_all", slow)
    accepting = asyncio.create_task(rig.accept())
    async with asyncio.timeout(10):
        await begun.wait()
    accepting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await accepting
    assert (rig.window.deliveries, rig.dispatched) == (0, [])
    await until(lambda: store.messages._withdrawing is None and store.messages._enqueues.pending == 0)
    assert await count(store, "queue") == 0


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b"no header at all\r\n\r\nbody\r\n", "5.6.0"),
        (b"From: shop@acme.example\r\nFrom: eve@evil.example\r\n\r\n", "5.6.0"),
        (b"Subject: nobody\r\n\r\n", "5.6.0"),
        (b"From: eve@evil.example\r\n\r\n", "5.7.1"),
        (b"From: shop@acme.example\r\nSender: eve@evil.example\r\n\r\n", "5.7.1"),
        (b"Received: x\r\n" * 101 + CONTENT, "5.4.6"),
    ],
)
async def test_what_the_chain_refuses_leaves_nothing(store: Store, content: bytes, status: str) -> None:
    rig = make(store)
    reply = await rig.accept(content=content)
    assert (reply.code // 100, reply.status) == (5, status)
    assert await count(store, "message") == 0
    assert rig.window.deliveries == 0


async def test_no_relaying_without_an_account(store: Store) -> None:
    rig = make(store)
    rig.client.account = None
    answer = await rig.mail()
    assert isinstance(answer, Reply)
    assert (answer.code, answer.status) == (530, "5.7.0")


async def test_the_envelope_sender_is_the_accounts_or_null(store: Store) -> None:
    rig = make(store)
    refused = await rig.mail("eve@evil.example")
    assert isinstance(refused, Reply)
    assert refused.status == "5.7.1"
    assert isinstance(await rig.mail(None), SubmissionTransaction)
    assert (await rig.accept(sender=None)).code == 250
    assert rig.dispatched[0].delivery.sender is None


async def test_a_suppressed_recipient_is_rejected_at_rcpt(store: Store) -> None:
    rig = make(store)
    await store.suppressions.add(1, Address.parse("ann@example.net"), detail="asked")
    answer = await rig.recipient("Ann@Example.NET")
    assert answer
    assert (answer.code, answer.status) == (550, "5.7.1")
    assert "asked" in answer.text
    assert await rig.recipient("ben@example.net") is None


async def test_without_the_store_no_recipient_is_taken(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    async def away(*_: object) -> None:
        raise StoreUnavailable("away")

    monkeypatch.setattr(store.recipients, "find", away)
    with pytest.raises(StoreUnavailable):
        await make(store).recipient("ann@example.net")


async def test_a_required_signature_that_cannot_be_made_is_temporary(store: Store) -> None:
    class NoKeys(Signer):
        def sign(self, *_: object, **__: object) -> bytes:
            return b""

    reply = await make(store, signer=NoKeys(), signing=SigningSettings(require=True)).accept()
    assert (reply.code, reply.status) == (451, "4.7.5")
    assert (await make(store, signer=NoKeys()).accept()).code == 250


async def test_option_fields_are_read_and_removed(store: Store) -> None:
    rig = make(store)
    rig.client.grant = Grant(signs=frozenset({"mailing"}))
    fields = b"X-MTA-Mailing: spring\r\n sale\r\nX-Other: stays\r\nX-mta-EXPIRE: 6h\r\nX-MTA-Stream: Transactional\r\n"
    await rig.accept(content=fields + CONTENT)
    assert b"x-mta-" not in (await rig.stored()).lower()
    assert b"X-Other: stays\r\n" + CONTENT in await rig.stored()
    assert await rig.row("mailing") == "spring sale"
    left = await rig.row("expires_at") - datetime.now(UTC)
    assert timedelta(hours=5) < left <= timedelta(hours=6)


@pytest.mark.parametrize(
    ("wanted", "hours"),
    [(b"30m", 0.5), (b"2 h", 2), (b"1d", 24), (b"9999d", 48)],
)
async def test_expiry_may_be_sooner_than_the_rule_but_not_later(store: Store, wanted: bytes, hours: float) -> None:
    rig = make(store, queue=QueueSettings(expire_after="2d"))
    await rig.accept(content=b"X-MTA-Expire: " + wanted + b"\r\n" + CONTENT)
    left = await rig.row("expires_at") - datetime.now(UTC)
    assert timedelta(hours=hours) - timedelta(minutes=1) < left <= timedelta(hours=hours)


@pytest.mark.parametrize("wanted", [b"soon", b"-1h", b"", b"6", b"1.5h"])
async def test_an_expiry_that_says_nothing_is_refused(store: Store, wanted: bytes) -> None:
    rig = make(store)
    reply = await rig.accept(content=b"X-MTA-Expire: " + wanted + b"\r\n" + CONTENT)
    assert str(reply).startswith("550 5.6.0 X-MTA-Expire must be a whole number with a unit: 30m, 6h or 2d [")
    assert re.fullmatch(r".*\[[0-9a-z]{26}\]", str(reply))
    await store.rejections.drain()
    (rejection,) = await store.rejections.last(1)
    assert "X-MTA-Expire must be a whole number" in str(rejection.record["findings"])


async def test_missing_fields_are_added_before_signing(store: Store) -> None:
    rig = make(store)
    await rig.accept(content=b"From: shop@acme.example\r\n\r\nHello\r\n")
    content = await rig.stored()
    assert b"\r\nDate: " in content
    assert b"\r\nMessage-ID: <" in content


async def test_the_findings_are_kept(store: Store) -> None:
    rig = make(store)
    await rig.accept()
    async with store._database.session() as connection:
        kept = str(unpack(await connection.fetchval("select details from message"))["findings"])
    assert [name in kept for name in ("size", "loops", "headers", "sender_identity", "dkim")] == [True] * 5
    assert "s1._domainkey.acme.example" in kept


@pytest.mark.parametrize(
    ("error", "taken"),
    [(StoreUnavailable("away"), 0), (OutcomeUnknown("lost", 1), 2)],
    ids=["not queued", "perhaps queued"],
)
async def test_mail_that_was_not_queued_takes_no_place_of_a_sample(
    store: Store, monkeypatch: pytest.MonkeyPatch, error: Exception, taken: int
) -> None:
    async def away(*_: object, **__: object) -> Any:
        raise error

    rig, prepared = make(store), await of_a_sample(store)
    with monkeypatch.context() as patched:
        patched.setattr(store.messages, "enqueue_all", away)
        with pytest.raises(StoreUnavailable):
            await rig.submission.enqueue_within_sample(prepared, 0.0)
    await until(lambda: not store.mailings._unused)
    assert await places(store) == taken
    held = (await rig.submission.enqueue_within_sample(prepared, 0.0)).messages[0].holds
    assert [each.source for each in held] == ([HoldSource.SAMPLING] if taken else [])


async def test_recipients_who_have_their_copy_take_no_place_of_a_sample(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig, prepared = make(store), await of_a_sample(store)

    async def first_only(messages: Sequence[NewMessage], **_: object) -> tuple[Queued, Placed]:
        message = messages[0].message
        one = replace(message.envelope, recipients=message.envelope.recipients[:1])
        return Queued(), Placed((replace(messages[0], message=replace(message, envelope=one)),))

    monkeypatch.setattr(store.messages, "enqueue_all", first_only)
    await rig.submission.enqueue_within_sample(prepared, 0.0)
    await until(lambda: not store.mailings._unused)
    assert await places(store) == 1


async def of_a_sample(store: Store) -> Prepared:
    """A message to two recipients, all of the sample of its mailing."""
    account = await store.accounts.add("acme")
    mailing = await store.mailings.add(account.id, "first", topic="offers", list="new", by="ann", sample=2)
    message = accepted("ann@example.net", "bob@example.net", account_id=account.id, mailing=mailing.id)
    return Prepared([message], (), Facts(ACCOUNT, mailing=mailing))


async def places(store: Store) -> int:
    """Those taken of the only mailing's sample, once what is given back is there."""
    assert store.mailings._giving_back is None or await store.mailings._giving_back is None
    async with store._database.session() as connection:
        taken: int = await connection.fetchval("select sampled from mailing")
        return taken


async def test_a_reload_changes_the_rules(store: Store) -> None:
    rig = make(store)
    settings = Settings.model_validate({"submission": {"limits": {"message_size": "100B"}}})
    profiles = open_profiles(settings, Secrets(bytes(32)))
    rig.submission.configure(settings, Signer(), profiles, TrapAddresses())  # type: ignore[arg-type]
    assert (await rig.accept(content=CONTENT + b"x" * 100)).status == "5.3.4"


async def test_a_suspended_account_is_told_at_mail_and_under_every_profile(store: Store, tmp_path: Path) -> None:
    bare = tmp_path / "bare.toml"
    bare.write_text('[transactional]\nchain = ["size"]\n')
    rig = make(store, policy=PolicySettings(profiles=[bare]))
    suspended = replace(ACCOUNT, status=AccountStatus.SUSPENDED, reason="complaints")
    for profile in ("transactional", "bare", "gone"):
        rig.client.account = replace(suspended, profile=profile)
        answer = await rig.mail()
        assert isinstance(answer, Reply)
        assert answer.text.startswith('account_state: account "acme" is suspended (complaints)')


async def test_a_from_field_that_no_rule_reads_is_the_clients_error(store: Store, tmp_path: Path) -> None:
    bare = tmp_path / "bare.toml"
    bare.write_text('[transactional]\nchain = ["size"]\n')
    rig = make(store, policy=PolicySettings(profiles=[bare]))
    rig.client.account = replace(ACCOUNT, profile="bare")
    reply = await rig.accept(content=b"From: nobody at all\r\n\r\n")
    assert (reply.code, reply.status) == (550, "5.6.0")
    assert await count(store, "message") == 0


async def test_what_is_looked_up_at_rcpt_is_not_looked_up_again(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    rig, asked, find = make(store), [], store.recipients.find

    async def counted(account_id: int, addresses: Sequence[Address]) -> list[RecipientFacts]:
        asked.extend(addresses)
        return await find(account_id, addresses)

    monkeypatch.setattr(store.recipients, "find", counted)
    transaction = rig.transaction()
    ann, ben = Address.parse("ann@example.net"), Address.parse("ben@example.net")
    assert await transaction.on_recipient(Recipient(ann)) is None
    assert (await transaction.on_message(envelope(str(ann), str(ben)), CONTENT)).code == 250
    assert asked == [ann, ben]


async def test_recipients_named_together_are_one_question(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    rig, asked, find = make(store), [], store.recipients.find

    async def counted(account_id: int, addresses: Sequence[Address]) -> list[RecipientFacts]:
        asked.append([str(address) for address in addresses])
        return await find(account_id, addresses)

    monkeypatch.setattr(store.recipients, "find", counted)
    transaction = rig.transaction()
    people = [Address.parse(f"{name}@example.net") for name in ("ann", "ben", "cleo", "ann", "dan")]
    for n, address in enumerate(people):
        assert await transaction.on_recipient(Recipient(address), people[1:4] if n == 0 else ()) is None
    assert asked == [["ann@example.net", "ben@example.net", "cleo@example.net"], ["dan@example.net"]]
    assert set(transaction.known) == set(people)


# --- storage


async def test_mail_is_put_off_while_a_disk_has_lost_its_reserve(store: Store) -> None:
    free = 0
    disk = DiskWatch([Path("/")], statvfs=lambda _: a_disk(size=10**10, free=free), clock=lambda: float(free))
    rig = make(store, disk=disk)
    reply = await rig.mail()
    assert isinstance(reply, Reply)
    assert str(reply).startswith("452 4.3.1 Insufficient system storage")
    free = 10**9
    assert isinstance(await rig.mail(), SubmissionTransaction)


@pytest.mark.usefixtures("internal_errors_expected")
async def test_mail_is_put_off_while_the_database_says_that_it_is_full(store: Store) -> None:
    rig = make(store)
    store._database.full.note("could not extend file: No space left on device")
    reply = await rig.mail()
    assert isinstance(reply, Reply)
    assert (reply.code, reply.status) == (452, "4.3.1")

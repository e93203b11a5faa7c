"""A person's rights: all that is kept is told, what is erased is gone, and stays blocked."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from hashlib import sha256

import orjson
import pytest

from config.schema import RetentionSettings
from mta.mail.address import Address
from mta.mail.message import Stream
from mta.store.mailings.references import NewReference
from mta.store.permission.ledger import Given, Verified
from mta.store.postgres.secrets import address_placeholder
from mta.store.privacy import erasure
from mta.store.privacy.erasure import Forgotten, forget
from mta.store.store import Store
from policy.permission.consent import Basis, Sign
from policy.permission.evidence import Evidence
from tests.unit.mta.store import make

ANN = Address.parse("ann@example.net")
NEARLY = ("joann@example.net", "ann@example.net.org", "ann@example.nets", "x.ann@example.net")
NOW = datetime.now(UTC)
DAY = timedelta(days=1)
SHOWN = b"To: Ann@example.net, " + NEARLY[0].encode() + b"\r\n\r\nCaf\xc3\xa9 \\ for ann@example.net\r\n"
FORM = Evidence(document="ab" * 32, statement="Yes, Shop may mail me its offers")


@pytest.fixture(autouse=True)
async def _accounts(store: Store) -> None:
    await make.execute(store, "insert into account (name, status) values ('one', 'active'), ('two', 'active')")


def given(address: Address = ANN, topic: str = "offers", at: datetime = NOW - 30 * DAY) -> Given:
    return Given(address, (topic,), Basis.OFFLINE_FORM, at, None, FORM)


async def everything(store: Store) -> str:
    """All text of all tables in which an address could be."""
    tables = (
        "message",
        "rejection",
        "event",
        "suppression",
        "consent",
        "recipient_activity",
        "consent_entry",
        "queue",
        "mailing_reference",
    )
    async with store._database.session() as connection:
        found = [
            row[0] for table in tables for row in await connection.fetch(f"select to_jsonb(t)::text from {table} t")
        ]
        written = await connection.fetch("select convert_from(content || outgoing, 'UTF8') from mailing_reference")
        evidence = await connection.fetch("select convert_from(evidence, 'UTF8') from consent_entry")
    return "\n".join([*found, *(row[0] or "" for row in [*evidence, *written])])


def without_others(text: str) -> str:
    for name in NEARLY:
        text = text.replace(name, "")
    return text.lower()


async def verified(store: Store, account_id: int = 1) -> Verified:
    result = [each async for each in store.consents.verify(account_id)][-1]
    assert isinstance(result, Verified)
    return result


@pytest.fixture
async def history(store: Store) -> Store:
    """Consents to two accounts, a message delivered to Ann and others, one queued, a refusal, a suppression."""
    for account_id in (1, 2):
        await store.consents.record(account_id, [given()], by="test")
    delivered = make.accepted("Ann@example.net", *NEARLY, subject="To ann@example.net")
    await store.messages.enqueue(delivered, leased=False)
    await make.execute(store, "delete from queue")
    await store.messages.enqueue(
        make.accepted("ann@example.net", stream=Stream.MARKETING, topic="offers"), leased=False
    )
    await store.suppressions.add(2, ANN, detail="complained")
    await make.execute(
        store,
        "insert into rejection values (gen_random_uuid(), 1, now(), $1)",
        orjson.dumps({"reply": "550 opt_in: consent of <ann@example.net> lapsed"}).decode(),
    )
    await store.consents.renew(1, ANN, Sign.PURCHASE, by="shop")
    mailing = await store.mailings.add(1, "june", topic="offers", list="customers", by="test")
    await store.mailings.confirm(
        mailing.id, by="A. Baker", terms="1", messages=[NewReference(1, SHOWN, SHOWN, "Hi, Ann@example.net", b"PNG")]
    )
    return store


async def test_everything_that_is_kept_is_told(history: Store) -> None:
    subject = await history.data_subjects.find(Address.parse("ANN@example.net"))
    assert [known.account_id for known in subject.consents] == [1, 2]
    assert [each.suppression.account_id for each in subject.suppressions] == [2]
    assert (len(subject.messages), len(subject.queued), len(subject.refusals), len(subject.contacts)) == (2, 1, 1, 1)
    assert "suppressed" in {event["kind"] for event in subject.events}
    assert [(each["name"], each["number"], each["by"]) for each in subject.references] == [("june", 1, "A. Baker")]
    orjson.dumps(
        [subject.references, subject.messages, subject.queued, subject.refusals, subject.contacts, subject.events]
    )


async def test_others_are_not_told(history: Store) -> None:
    subject = await history.data_subjects.find(Address.parse("nn@example.net"))
    found = (
        subject.references,
        subject.consents,
        subject.suppressions,
        subject.messages,
        subject.refusals,
        subject.events,
    )
    assert not any(found)


async def test_what_is_erased_is_nowhere_and_stays_blocked(history: Store) -> None:
    erased = await history.data_subjects.erase(ANN, by="desk", keep_proof=None)
    assert (erased.pulled, erased.emptied, erased.kept) == (1, 5, ())
    assert (erased.redacted.messages, erased.redacted.rejections, erased.redacted.references) == (2, 1, 1)
    left = await everything(history)
    assert all(name in left for name in NEARLY)
    assert "ann@" not in without_others(left)
    assert address_placeholder(history.suppressions._secrets.address_key(ANN)) in left
    assert "Café \\ for " in left
    reference = await make.row(history, "select digest, picture from mailing_reference")
    assert (reference["digest"], reference["picture"]) == (sha256(SHOWN).digest(), None)
    for account_id in (1, 2):
        (facts,) = await history.recipients.find(account_id, [ANN])
        assert "*" in {each.topic for each in facts.suppressions}
        assert all(each.revoked_at for each in facts.consents)
        assert (await verified(history, account_id)).faults == ()
    await history.data_subjects.erase(ANN, by="desk", keep_proof=None)


async def test_proof_is_kept_until_claims_are_time_barred(history: Store) -> None:
    erased = await history.data_subjects.erase(ANN, by="desk", keep_proof=(1000 * DAY).total_seconds())
    assert erased.emptied == 0
    assert [(kept.account_id, kept.entries) for kept in erased.kept] == [(1, (1, 2, 3)), (2, (1, 2))]
    assert all(timedelta(days=999) < kept.until - NOW < timedelta(days=1001) for kept in erased.kept)
    assert (await history.consents.of(ANN))[0].proofs[0].said is not None
    keep = RetentionSettings.model_validate({"consent_evidence": "1000d"})
    assert (await forget(history._database, NOW + 999 * DAY, keep)).subjects == 0
    assert (await forget(history._database, NOW + 1001 * DAY, keep)).subjects == 2
    assert "ann@" not in without_others(await everything(history))
    assert (await verified(history)).faults == ()
    (facts,) = await history.recipients.find(1, [ANN])
    assert (facts.consents, bool(facts.suppressions)) == ((), True)


async def test_one_account_may_forget_alone(history: Store) -> None:
    await history.data_subjects.erase(ANN, by="desk", account_id=1, keep_proof=None)
    known = await history.consents.of(ANN)
    assert [next(proof.said is None for proof in each.proofs) for each in known] == [True, False]
    (facts,) = await history.recipients.find(2, [ANN])
    assert [each.detail for each in facts.suppressions] == ["complained"]
    assert facts.consents[0].revoked_at is None


async def test_evidence_is_kept_while_a_consent_may_be_used(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(erasure, "CHUNK", 2)
    others = [Address(f"a{n}", "example.net") for n in range(5)]
    await store.consents.record(1, [given(each) for each in others], by="test")
    await store.consents.record(2, [given(others[0]), given(others[0], "news")], by="test")
    await store.consents.revoke(2, others[0], "news", reason="x", by="y")
    await store.consents.renew(1, others[1], Sign.CLICK, by="web", at=NOW)
    keep = RetentionSettings.model_validate({"consent_evidence": "10d"})
    assert (await forget(store._database, NOW + 500 * DAY, keep)).subjects == 0
    lapsed = NOW - 30 * DAY + 562 * DAY  # a bit more than 18 months and 10 days
    assert (await forget(store._database, lapsed, keep)).subjects == 5
    assert [proof.said is None for proof in (await store.consents.of(others[1]))[0].proofs] == [False, False]
    assert [(await verified(store, account_id)).faults for account_id in (1, 2)] == [(), ()]
    assert (await forget(store._database, lapsed, keep)).subjects == 0


async def test_each_class_of_data_has_its_time(history: Store) -> None:
    await make.execute(
        history, "insert into account_change (account_id, by, kind, data) values (1, 'test', 'terms', '{}')"
    )
    await make.execute(history, "delete from rejection")
    await history._database.retried(
        lambda connection: connection.execute(
            "insert into rejection values ($1, 1, now(), '{}')", make.accepted().message.id
        )
    )
    assert await history.data_subjects.forget(RetentionSettings()) == Forgotten()
    keep = RetentionSettings.model_validate({"rejections": "1d", "recipient_activity": "2d", "account_history": "3d"})
    assert await forget(history._database, NOW + 1.5 * DAY, keep) == Forgotten(refusals=1)
    assert await forget(history._database, NOW + 2.5 * DAY, keep) == Forgotten(contacts=1)
    assert await forget(history._database, NOW + 3.5 * DAY, keep) == Forgotten(changes=3)  # with those of the mailing


async def test_what_was_confirmed_is_kept_while_messages_of_its_mailing_are_known(history: Store) -> None:
    mailing = await make.row(history, "select id from mailing")
    await history.messages.enqueue(make.accepted("ann@example.net", mailing=mailing["id"]), leased=False)
    keep = RetentionSettings.model_validate({"consent_evidence": "10d"})
    assert (await forget(history._database, NOW + 11 * DAY, keep)).references == 0
    await make.execute(history, "delete from queue")
    await make.execute(history, "delete from message")
    assert (await forget(history._database, NOW + 9 * DAY, keep)).references == 0
    assert (await forget(history._database, NOW + 11 * DAY, keep)).references == 1

"""``mta queue`` and ``mta explain`` against a real database, called as from a shell."""

from __future__ import annotations

import asyncio
import ipaddress
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from mta.cli import output
from mta.cli.main import build
from mta.mail.address import Address
from mta.mail.delivery import Action, Attempt, Classification, Deferred, Delivered, Fault, Host, Stage
from mta.mail.delivery import Result as Got
from mta.mail.identity import MessageId, format_id, new_message_id
from mta.mail.message import Envelope, Message, Origin, Recipient, Stream
from mta.mail.reply import Reply
from mta.store.postgres.secrets import Secrets
from mta.store.queue.enqueue import Leased, NewMessage
from mta.store.results.delivery_results import DeliveryResult
from mta.store.store import Store
from mta.testing.nameserver import NameServer, Node
from policy.accounts.account import AccountStatus
from policy.base import Finding
from tests.unit.mta.cli.shell import Operator
from tests.unit.mta.store import make

CONTENT = b"From: Shop <shop@acme.example>\r\nSubject: Spring [sale]\r\n\r\nhello\r\n"
FULL = Classification("mailbox_full", Fault.RECIPIENT, Action.RETRY, "mailbox-full")


class Shell:
    """Runs ``mta`` with a configuration for this test's database."""

    def __init__(self, folder: Path, database_url: str, secrets: Secrets) -> None:
        (folder / "secret").write_text(secrets.root.hex())
        (folder / "secret").chmod(0o600)
        self._config = folder / "mta.toml"
        self._config.write_text(f'[server]\nsecret_file = "secret"\n[database]\nurl = "{database_url}"\n')

    async def run(self, *words: str, answer: str | None = None) -> Result:
        app = build(words[0])
        arguments = [*words, "--config", str(self._config)]
        return await asyncio.to_thread(CliRunner().invoke, app, arguments, input=answer)

    async def json(self, *words: str) -> Any:
        result = await self.run(*words, "--json")
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)


@pytest.fixture
def shell(tmp_path: Path, database_url: str, secrets: Secrets) -> Shell:
    return Shell(tmp_path, database_url, secrets)


async def put(store: Store, account_id: int, *to: str, leased: bool = False, mailing: str | None = None) -> MessageId:
    now = datetime.now(UTC)
    origin = Origin(account_id, "acme", "acme-1", ipaddress.ip_address("192.0.2.1"), "app", "s1", "ESMTPSA", now)
    envelope = Envelope(Address("shop", "acme.example"), tuple(Recipient(Address.parse(each)) for each in to))
    message = Message.of(new_message_id(), envelope, origin, CONTENT)
    finding = Finding("size", "pass", "66 of 52428800 octets")
    accepted = NewMessage(message, account_id, now + timedelta(days=5), (finding,), mailing)
    match await store.messages.enqueue(accepted, leased=leased):
        case Leased(deliveries):
            for delivery in deliveries:
                await settle(store, delivery)
    return message.id


async def settle(store: Store, delivery: Any) -> None:
    """``full@`` is put off by an hour, everybody else gets the message."""
    full, taken = Reply(452, "4.2.2", "mailbox [full]"), Reply(250, "2.0.0", "ok")
    until = datetime.now(UTC) + timedelta(hours=1)
    outcomes: list[Deferred | Delivered] = []
    for recipient in delivery.recipients:
        if recipient.address.local == "full":
            outcomes.append(Deferred(Got(recipient, Stage.RECIPIENT, full), FULL, until))
        else:
            outcomes.append(Delivered(Got(recipient, Stage.FINAL_DOT, taken)))
    host = Host("mx.club.example", "192.0.2.25", "TLSv1.3")
    results = tuple(outcome.result for outcome in outcomes)
    attempt = Attempt(delivery, results, datetime.now(UTC), 0.25, host, "192.0.2.9")
    await make.write(store, DeliveryResult(attempt, tuple(outcomes)))


@pytest.fixture
async def account(store: Store) -> int:
    return (await store.accounts.add("acme", domains=["acme.example"], status=AccountStatus.ACTIVE, verified=True)).id


async def test_the_summary_counts_by_whatever_is_asked(store: Store, account: int, shell: Shell) -> None:
    await put(store, account, "a@one.example", "b@one.example", mailing="spring")
    await put(store, account, "c@two.example")
    by_destination = await shell.json("queue")
    assert {group["key"]: group["recipients"] for group in by_destination["groups"]} == {
        "one.example": 2,
        "two.example": 1,
    }
    by_mailing = await shell.json("queue", "--by", "mailing")
    assert {group["key"]: group["recipients"] for group in by_mailing["groups"]} == {"spring": 2, "": 1}
    text = (await shell.run("queue", "--by", "account")).stdout
    assert "3 recipients: 3 ready, 0 leased, 0 held, 0 delayed" in text
    assert "acme" in text


async def test_an_empty_queue_is_said(shell: Shell, store: Store) -> None:
    assert "0 recipients" in (await shell.run("queue")).stdout
    assert "No matching recipients." in (await shell.run("queue", "list")).stderr


async def test_lists_can_be_narrowed(store: Store, account: int, shell: Shell) -> None:
    first = await put(store, account, "full@club.example", "ann@one.example", leased=True, mailing="spring")
    second = await put(store, account, "bob@two.example")

    async def listed(*conditions: str) -> list[str]:
        return [row["address"] for row in await shell.json("queue", "list", *conditions)]

    assert await listed() == ["full@club.example", "bob@two.example"]
    assert await listed("--destination", "TWO.example") == ["bob@two.example"]
    assert await listed("--account", "acme", "--mailing", "spring") == ["full@club.example"]
    assert await listed("--recipient", "BOB@two.example") == ["bob@two.example"]
    assert await listed("--sender", "Shop@acme.example", "--reply", "FULL") == ["full@club.example"]
    assert await listed("--sender", "<>") == []
    assert await listed("--state", "held") == []
    assert await listed("--older-than", "1h") == []
    assert await listed(format_id(second)) == ["bob@two.example"]
    assert await listed(format_id(second), format_id(first), "--limit", "1") == ["full@club.example"], "the oldest"
    text = (await shell.run("queue", "list")).stdout
    assert "452 4.2.2 mailbox [full]" in text
    assert format_id(first) in text


async def test_conditions_that_mean_nothing_are_refused_with_the_reason(
    store: Store, account: int, shell: Shell
) -> None:
    await put(store, account, "a@one.example")
    for words, status, reason in (
        (("queue", "hold", "--yes"), 2, "--all"),
        (("queue", "list", "--account", "acne"), 1, "no account 'acne'"),
        (("queue", "list", "--older-than", "yesterday"), 2, "duration"),
        (("queue", "list", "--destination", "not a domain"), 2, "domain"),
        (("queue", "retry", "123", "--yes"), 2, "not a message id"),
        (("queue", "show", "123"), 2, "no message, domain or provider"),
    ):
        result = await shell.run(*words)
        assert (result.exit_code, reason in result.stderr) == (status, True), (words, result.output)
    assert (await shell.json("queue"))["groups"][0]["held"] == 0


async def test_hold_and_release_say_how_many_and_ask(store: Store, account: int, shell: Shell) -> None:
    message = await put(store, account, "a@one.example", "b@two.example")
    dry = await shell.run("queue", "hold", "--all", "--dry-run")
    assert dry.stdout == "2 recipients would be held.\n"
    refused = await shell.run("queue", "hold", "--all", answer="n\n")
    assert refused.exit_code == 1
    assert [row["state"] for row in await shell.json("queue", "list")] == ["ready", "ready"]
    agreed = await shell.run("queue", "hold", "--destination", "one.example", "--reason", "asked to", answer="y\n")
    assert "1 recipient held" in agreed.stdout
    assert "Mail that is accepted from now on is not held" in agreed.stdout
    held = await shell.json("queue", "show", format_id(message))
    assert [(row["state"], [hold["source"] for hold in row["holds"]]) for row in held] == [
        ("held", ["operator"]),
        ("ready", []),
    ]
    assert held[0]["holds"][0]["text"].startswith("asked to")
    assert [row["address"] for row in await shell.json("queue", "list", "--held-by", "operator")] == [
        held[0]["address"]
    ]
    assert await shell.json("queue", "list", "--held-by", "breaker") == []
    released = await shell.json("queue", "release", "--state", "held", "--yes")
    assert released == {"change": "release", "made": True, "changed": {"recipients": 1, "leased": 0, "still_held": 0}}
    assert "held by operator: asked to" in (await shell.run("explain", format_id(message))).stdout


async def test_retry_makes_due_what_waits(store: Store, account: int, shell: Shell) -> None:
    message = await put(store, account, "full@club.example", leased=True)
    await shell.run("queue", "retry", format_id(message), "--yes")
    (row,) = await shell.json("queue", "show", format_id(message))
    assert datetime.fromisoformat(row["due_at"]) <= datetime.now(UTC)


async def test_what_waits_for_a_backoff_says_so_and_retry_ends_it(
    store: Store, account: int, tmp_path: Path, database_url: str, secrets: Secrets
) -> None:
    nameserver = NameServer(
        {
            "club.example": Node(mx=((10, "mx.club.example"),)),
            "mx.club.example": Node(a=("192.0.2.25",)),
            "else.example": Node(a=("192.0.2.26",)),
        }
    )
    dns = f'[dns]\nservers = ["127.0.0.1:{await nameserver.start()}"]\n[egress]\nipv6 = false\n'
    operator = Operator(tmp_path, database_url, secrets, dns)
    message = format_id(await put(store, account, "full@club.example", leased=True))
    assert "waits for" not in await operator.says("explain", message)
    assert nameserver.queries == []
    await store.backoffs.note(store.lease.id, "mta-1", "mx.club.example", 600.0, "451 4.4.1 connection refused")
    await store.backoffs.note(store.lease.id, "mta-1", "else.example", 600.0, "451 4.4.1 connection refused")
    text = await operator.says("explain", message)
    assert "waits for mta-1 -> mx.club.example, in backoff until" in text
    assert "in 1 worker after 451 4.4.1 connection refused" in text
    assert [each["site"] for each in (await operator.json("explain", message))["backoffs"]] == ["mx.club.example"]
    assert await operator.says("queue", "retry", message, "--yes") == "1 recipient due now.\n1 backoff ended.\n"
    assert [each.site for each in await store.backoffs.list()] == ["else.example"]
    assert (await operator.json("queue", "retry", "--all", "--yes"))["backoffs_ended"] == 1
    await nameserver.stop()


async def test_bounce_asks_the_workers_to_fail_it(store: Store, account: int, shell: Shell) -> None:
    message = await put(store, account, "full@club.example", leased=True)
    await shell.run("queue", "bounce", format_id(message), "--reason", "wrong price", "--yes")
    (row,) = await shell.json("queue", "show", format_id(message))
    assert row["bounce"].startswith("wrong price (")
    assert "about to be bounced by an operator: wrong price" in (await shell.run("explain", format_id(message))).stdout


async def test_explain_tells_the_whole_story_in_order(store: Store, account: int, shell: Shell) -> None:
    message = await put(store, account, "ann@one.example", "full@club.example", leased=True, mailing="spring")
    await store.suppressions.add(account, Address("ann", "one.example"), detail="asked to be left alone")
    text = (await shell.run("explain", format_id(message))).stdout
    order = [
        f"Message {format_id(message)}",
        "account     acme",
        "sender      shop@acme.example",
        "subject     Spring [sale]",
        "ESMTPSA from 192.0.2.1",
        "size: pass (66 of 52428800 octets)",
        "accepted for 2 recipient(s)",
        "ann@one.example: attempt 1 delivered at stage final_dot\n      mx.club.example [192.0.2.25], TLSv1.3",
        "full@club.example: attempt 1 deferred at stage recipient",
        "452 4.2.2 mailbox [full]",
        "rule mailbox-full: mailbox_full, at fault: recipient, next attempt",
        "ann@one.example: delivered",
        "full@club.example: attempt 2 in 60 min",
        "ann@one.example is suppressed for this account",
    ]
    places = [text.find(part) for part in order]
    assert -1 not in places, order[places.index(-1)] + "\n" + text
    assert places == sorted(places), text


async def test_explain_for_machines(store: Store, account: int, shell: Shell) -> None:
    message = await put(store, account, "full@club.example", leased=True)
    data = await shell.json("explain", format_id(message))
    assert data["message_id"] == format_id(message)
    assert data["recipients"] == ["full@club.example"]
    assert [(event["kind"], event["rule"]) for event in data["events"]] == [("deferred", "mailbox-full")]
    assert data["queued"][0]["attempts"] == 1
    assert data["findings"][0]["policy"] == "size"


async def test_explain_of_what_is_not_known(store: Store, shell: Shell) -> None:
    unknown = await shell.run("explain", format_id(new_message_id()))
    assert (unknown.exit_code, "no record" in unknown.stderr) == (1, True)
    nonsense = await shell.run("explain", "abc")
    assert (nonsense.exit_code, "not a message id" in nonsense.stderr) == (2, True)


async def test_what_went_wrong_of_late_is_found_with_its_recipient(store: Store, account: int) -> None:
    await put(store, account, "ann@one.example", "full@club.example", leased=True)
    ((recipient, event),) = await store.events.troubles(5)
    assert (recipient, event.kind, event.data["code"]) == ("full@club.example", "deferred", 452)


def test_no_database_is_made_to_answer_a_question(tmp_path: Path) -> None:
    config = tmp_path / "mta.toml"
    config.write_text('[server]\ndata_dir = "data"\n')
    for words in (["queue"], ["explain", format_id(new_message_id())]):
        asked = CliRunner().invoke(build(words[0]), [*words, "--config", str(config)])
        assert asked.exit_code == 1
        assert f"there is no database in {tmp_path / 'data'}" in asked.stderr
    assert not (tmp_path / "data").exists()


async def test_a_narrow_terminal_shows_ids_whole(
    store: Store, account: int, shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    message = await put(store, account, "full@club.example", leased=True)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(output, "on_terminal", lambda: True)
    text = (await shell.run("queue", "list")).stdout
    assert max(map(len, text.splitlines())) <= 80
    for part in (format_id(message), "full@club.example", "ready", "in 60 min"):
        assert part in text
    assert "452 4.2.2 mailbox [full]" in " ".join(text.split())


async def test_the_queue_is_shown_and_chosen_by_stream_and_topic(shell: Shell, store: Store) -> None:
    account = (await store.accounts.add("acme", status=AccountStatus.ACTIVE)).id
    await put(store, account, "a@one.example")
    offer = make.accepted("b@one.example", account_id=account, stream=Stream.MARKETING, topic="offers", mailing="may")
    await store.messages.enqueue(offer, leased=False)
    by_stream = await shell.json("queue", "--by", "stream")
    assert {group["key"]: group["recipients"] for group in by_stream["groups"]} == {"marketing": 1, "transactional": 1}
    (listed,) = await shell.json("queue", "list", "--stream", "marketing", "--topic", "offers")
    assert (listed["address"], listed["stream"], listed["topic"]) == ("b@one.example", "marketing", "offers")
    shown = (await shell.run("queue", "show", format_id(offer.message.id))).stdout
    assert "stream        marketing" in shown
    assert "topic         offers" in shown
    held = await shell.json("queue", "hold", "--stream", "marketing", "--yes")
    assert held["changed"] == {"recipients": 1, "leased": 0, "still_held": 0}
    (waiting,) = await shell.json("queue", "list", "--state", "ready")
    assert waiting["stream"] == "transactional"

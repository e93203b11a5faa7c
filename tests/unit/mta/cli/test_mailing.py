"""``mta mailing`` against a real database: made, confirmed, stopped, and found by whatever a complaint holds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from config.schema import Settings
from mta.cli import options
from mta.http_client import HttpClient, HttpError, HttpPage
from mta.mail.hold import Hold
from mta.mail.identity import format_id
from mta.service.composition import open_tokens
from mta.store.postgres.secrets import Secrets
from mta.store.store import Store
from policy.accounts.mailing import MailingObstacle, mailing_hold
from policy.permission.tokens import Claim
from tests.unit.mta.cli.shell import Operator
from tests.unit.mta.store import make

WAITS = mailing_hold(MailingObstacle.UNCONFIRMED, 'mailing "june" is not confirmed')
SAMPLED = (
    'extends = "transactional"\n[marketing]\nchain = ["size", "confirmation", "sampling"]\n[rules.sampling]\nsize = 5\n'
)


STRICT = (
    'extends = "transactional"\n[marketing]\nchain = ["size", "confirmation", "unsubscribe"]\n'
    '[rules.unsubscribe]\npage = "require"\n'
)
MESSAGE = (
    "From: Shop <news@shop.example>\r\nTo: Ann Example <ann@example.net>\r\nSubject: Offers\r\n\r\n"
    "Dear Ann,\r\n\r\napples are cheap today.\r\n\r\n{}\r\n"
)
UNSEEN = ("--skip-link-check", "--reason", "no network")
LINK = "Unsubscribe: https://shop.example/off/8f3a"


@pytest.fixture
async def operator(tmp_path: Path, database_url: str, secrets: Secrets) -> Operator:
    for name, text in (("sampled", SAMPLED), ("strict", STRICT)):
        (tmp_path / f"{name}.toml").write_text(text)
    more = '[policy]\nprofiles = ["sampled.toml", "strict.toml"]\n[policy.terms]\nversion = "3"\n'
    operator = Operator(tmp_path, database_url, secrets, more)
    for name in ("shop", "club"):
        await operator.says("account", "add", name, "--domain", f"{name}.example")
    return operator


async def add(operator: Operator, account: str, name: str, *more: str) -> str:
    made = await operator.json("mailing", "add", account, name, "--topic", "offers", "--list", "customers", *more)
    mailing_id: str = made["id"]
    return mailing_id


async def put(store: Store, account: str, mailing: str, hold: Hold | None, to: str = "ann@example.net") -> str:
    account_id = (await store.accounts.find(account)).account.id
    accepted = make.accepted(to, account_id=account_id, mailing=mailing, hold=hold)
    await store.messages.enqueue(accepted, leased=False)
    return mailing


async def test_a_mailing_is_made_and_says_what_comes_next(operator: Operator) -> None:
    told = await operator.says("mailing", "add", "shop", "june", "--topic", "Offers", "--list", "customers")
    assert 'Mailing "june" of shop created: ' in told
    assert 'The source of list "customers" is not recorded' in told
    assert "mta mailing confirm" in told
    assert "already" in await operator.fails("mailing", "add", "shop", "june", "--topic", "a", "--list", "b")
    assert "no account 'none'" in await operator.fails("mailing", "add", "none", "x", "--topic", "a", "--list", "b")
    (listed,) = await operator.json("mailing", "list", "--account", "shop")
    assert (listed["name"], listed["topic"], listed["state"], listed["created_by"]) == (
        "june", "offers", "not confirmed", options.operator(),
    )  # fmt: skip


async def test_a_first_mailing_to_a_new_list_is_sampled_as_the_profile_says(operator: Operator, store: Store) -> None:
    await make.execute(store, "update account set profile = 'sampled' where name = 'shop'")
    assert (await operator.json("mailing", "add", "shop", "one", "--topic", "a", "--list", "new"))["sample"][
        "size"
    ] == 5
    chosen = await operator.json("mailing", "add", "shop", "two", "--topic", "a", "--list", "new", "--sample", "9")
    assert chosen["sample"]["size"] == 9
    none = await operator.json("mailing", "add", "shop", "three", "--topic", "a", "--list", "new", "--sample", "0")
    assert none["sample"] is None
    known = await operator.json("mailing", "add", "shop", "four", "--topic", "a", "--list", "new")
    assert known["sample"] is None


async def test_confirming_names_who_and_which_terms_and_releases_what_waits(operator: Operator, store: Store) -> None:
    mailing = await add(operator, "shop", "june")
    await put(store, "shop", mailing, WAITS)
    told = await operator.says("mailing", "confirm", "june", "--by", "Ann Lee")
    assert "confirmed by Ann Lee under version 3 of the terms. Queued recipients: 1 released." in told
    assert "confirmed before" in await operator.fails("mailing", "confirm", "june")
    assert await make.count(store, "queue where holds = 0") == 1


@pytest.fixture
def pages(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """What is on the web: pages by URL."""
    found = {"https://shop.example/off/8f3a": "<form method=post><button>Unsubscribe</button></form>"}

    async def get(client: HttpClient, url: str, headers: object, *, answer_limit: int) -> HttpPage:
        if url not in found:
            raise HttpError("Cannot connect to the host")
        return HttpPage(url, 200, "text/html", found[url].encode())

    monkeypatch.setattr(HttpClient, "get", get)
    return found


async def test_the_page_of_a_link_is_looked_at_before_a_mailing_is_confirmed(
    operator: Operator, store: Store, tmp_path: Path, pages: dict[str, str]
) -> None:
    await make.execute(store, "update account set profile = 'strict' where name = 'shop'")
    mailing = await add(operator, "shop", "june")
    message = tmp_path / "message.eml"
    message.write_text(MESSAGE.format(LINK), newline="")
    confirm = ("mailing", "confirm", "june", "--message", str(message), "--by", "Ann Lee")
    pages["https://shop.example/off/8f3a"] = "<h1>Sign in</h1><form><input type=password><button>Go</button></form>"
    told = await operator.fails(*confirm)
    page = "unsubscribe: the page of https://shop.example/off/8f3a"
    assert f"{message}: {page}: asks for a password" in told
    assert "--skip-link-check --reason" in told
    pages.clear()
    assert f"{page}: Cannot connect to the host" in await operator.fails(*confirm)
    assert (await operator.json("mailing", "show", "june"))["mailing"]["confirmation"] is None
    assert "nothing else does" in await operator.fails(*confirm, "--skip-link-check", status=2)
    assert "nothing else does" in await operator.fails(*confirm, "--reason", "intranet", status=2)
    await operator.says(*confirm, "--skip-link-check", "--reason", "intranet")
    (link,) = (await operator.json("mailing", "show", "june"))["mailing"]["pages"]["pages"]
    assert (link["url"], link["seen"]) == ("https://shop.example/off/8f3a", "not looked at, by Ann Lee: intranet")
    assert "8f3a: not looked at, by Ann Lee: intranet (rule unsubscribe, " in await operator.says(
        "mailing", "show", mailing
    )


async def test_what_was_seen_is_what_the_messages_of_the_mailing_are_judged_by(
    operator: Operator, store: Store, tmp_path: Path, pages: dict[str, str]
) -> None:
    await make.execute(store, "update account set profile = 'strict' where name = 'shop'")
    mailing_id = await add(operator, "shop", "june")
    message = tmp_path / "message.eml"
    message.write_text(MESSAGE.format(LINK), newline="")
    await operator.says("mailing", "confirm", "june", "--message", str(message))
    record = await store.mailings.show(mailing_id)
    assert record is not None
    seen = record.mailing.pages.find("unsubscribe", "https://shop.example/off/77aa")
    assert seen is not None
    assert (seen.status, seen.fault, seen.url) == (200, "", "https://shop.example/off/8f3a")
    assert record.mailing.pages.find("unsubscribe", "https://shop.example/login/77aa") is None


async def test_the_message_that_is_confirmed_is_judged_and_kept(
    operator: Operator, store: Store, tmp_path: Path, pages: dict[str, str]
) -> None:
    await make.execute(store, "update account set profile = 'strict' where name = 'shop'")
    mailing = await add(operator, "shop", "june")
    good, bad = tmp_path / "good.eml", tmp_path / "bad.eml"
    good.write_text(MESSAGE.format(LINK), newline="")
    bad.write_text(MESSAGE.format("Bye"), newline="")
    told = await operator.fails("mailing", "confirm", "june", "--message", str(good), "--message", str(bad))
    assert f"{bad}: unsubscribe: none of the 0 links" in told
    assert await store.mailings.references(mailing) == []
    await operator.says("mailing", "confirm", "june", "--message", str(good), "--by", "Ann Lee")
    (kept,) = await store.mailings.references(mailing)
    assert (kept.number, kept.by, kept.terms) == (1, "Ann Lee", "3")
    assert "apples are cheap today." in kept.preview
    assert {each["policy"] for each in kept.evidence["findings"]} >= {"size", "unsubscribe", "dkim"}


async def test_what_was_confirmed_is_shown_and_can_be_withdrawn(
    operator: Operator, store: Store, tmp_path: Path
) -> None:
    await make.execute(store, "update account set profile = 'strict' where name = 'shop'")
    mailing = await add(operator, "shop", "june")
    files = [tmp_path / "one.eml", tmp_path / "two.eml", tmp_path / "sample.eml"]
    texts = [MESSAGE, MESSAGE.replace("apples", "pears"), MESSAGE.replace("8f3a", "x").replace("ann@", "bob@")]
    for file, text in zip(files, texts, strict=True):
        file.write_text(text.format(LINK), newline="")
    one, two, sample = map(str, files)
    told = await operator.says(
        "mailing", "confirm", "june", "--message", one, "--message", two, "--sample", sample, *UNSEEN
    )
    assert "Reference 1: may vary: name 'Ann', 1 tokens in links." in told
    shown = await operator.json("mailing", "show", "june")
    assert [(each["number"], each["sample_of"]) for each in shown["references"]] == [(1, None), (2, None), (3, 1)]
    assert "apples are cheap" in await operator.says("mailing", "preview", "june")
    assert "pears are cheap" in await operator.says("mailing", "preview", "june", "2")
    written = await operator.says("mailing", "preview", "june", "2", "--output", str(tmp_path))
    assert (tmp_path / f"{mailing}-2.eml").read_bytes().count(b"pears") == 1
    assert len(written.split()) == 2
    assert "Reference 1 " in await operator.says(
        "mailing", "reference", "remove", "june", "1", "--reason", "an error", "--dry-run"
    )
    await operator.says("mailing", "reference", "remove", "june", "1", "--reason", "an error", "--yes", "--by", "Eve")
    listed = await operator.json("mailing", "reference", "list", "june")
    assert [each["removed_by"] for each in listed] == ["Eve", None, "Eve"]
    assert "stop the mailing" in await operator.fails(
        "mailing", "reference", "remove", "june", "2", "--reason", "an error", "--yes"
    )
    assert (await operator.json("mailing", "reference", "list", "june"))[1]["removed_at"] is None
    await operator.says("mailing", "confirm", "june", "--message", one, *UNSEEN)
    assert [each["number"] for each in await operator.json("mailing", "reference", "list", "june")] == [1, 2, 3, 4]


async def test_a_message_that_waits_is_confirmed_by_its_id(operator: Operator, store: Store) -> None:
    await make.execute(store, "update account set profile = 'strict' where name = 'shop'")
    mailing = await add(operator, "shop", "june")
    account_id = (await store.accounts.find("shop")).account.id
    accepted = make.accepted("ann@example.net", account_id=account_id, mailing=mailing, hold=WAITS)
    content = MESSAGE.format(LINK).encode()
    message = accepted.message.with_content(content)
    await store.messages.enqueue(replace(accepted, message=message), leased=False)
    told = await operator.says("mailing", "confirm", "june", "--queued", format_id(message.id), *UNSEEN)
    assert "Queued recipients: 1 released." in told
    assert "is not one of mailing" in await operator.fails("mailing", "confirm", "june", "--queued", "0" * 26)


async def test_a_stop_needs_a_reason_and_release_ends_it(operator: Operator, store: Store) -> None:
    mailing = await add(operator, "shop", "june")
    await operator.says("mailing", "confirm", "june")
    await put(store, "shop", mailing, None)
    await operator.fails("mailing", "stop", "june", status=2)
    assert "1 held" in await operator.says("mailing", "stop", "june", "--reason", "wrong price")
    shown = await operator.says("mailing", "show", "june")
    assert "stopped: wrong price" in shown
    assert "held by     mailing (stopped): the mailing was stopped: wrong price (1 recipients)" in shown
    assert "1 released" in await operator.says("mailing", "release", "june")
    bounce = ("mailing", "stop", "june", "--reason", "wrong price", "--bounce")
    told = await operator.says(*bounce, "--dry-run")
    assert told == 'Mailing "june" would be stopped, 1 queued recipients bounced.\n'
    assert "cannot be undone" in await operator.fails(*bounce)
    assert "1 bounced" in await operator.says(*bounce, "--yes")


async def test_one_name_of_two_accounts_is_not_guessed(operator: Operator) -> None:
    shop, club = await add(operator, "shop", "june"), await add(operator, "club", "june")
    assert "name the account with --account" in await operator.fails("mailing", "show", "june")
    assert club in await operator.says("mailing", "show", "june", "--account", "club")
    assert shop in await operator.says("mailing", "show", shop)
    assert "there is no mailing" in await operator.fails("mailing", "show", "july")


async def test_whatever_header_line_a_complaint_holds_finds_the_mailing(operator: Operator, secrets: Secrets) -> None:
    mailing = await add(operator, "shop", "june")
    token = open_tokens(Settings(), secrets).make(Claim("c", 1, bytes(16), mailing, "offers"))
    for line in (
        f"X-Mailing-ID: {mailing}",
        f"X-Mailing-ID: {mailing.upper()}",
        f"Feedback-ID: {mailing}:1:marketing:imprimatur",
        f"CFBL-Feedback-ID: {token}",
        f"List-Unsubscribe: <https://mail.example.com/u/{token}>, <mailto:unsubscribe@x.example?subject={token}>",
    ):
        shown = await operator.json("mailing", "show", line)
        assert shown["mailing"]["id"] == mailing
        assert shown["mailing"]["account"] == "shop"
    forged = token[:-1] + ("A" if token[-1] != "A" else "B")
    assert "there is no mailing" in await operator.fails("mailing", "show", f"CFBL-Feedback-ID: {forged}")


async def test_show_finds_account_list_consents_and_all_events_in_one_step(operator: Operator, store: Store) -> None:
    mailing = await add(operator, "shop", "june")
    account_id = (await store.accounts.find("shop")).account.id
    await make.execute(
        store,
        "insert into consent (address_key, account_id, topic, basis, given_at, entry, revoked_at) values"
        " ('a', $1, 'offers', 'double_opt_in', now(), 1, null), ('b', $1, '*', 'double_opt_in', now(), 2, now()),"
        " ('c', $1, 'other', 'purchase', now(), 3, null)",
        account_id,
    )
    await put(store, "shop", mailing, WAITS, "ann@example.net")
    delivery = await make.put(store, "bob@example.org", account_id=account_id, mailing=mailing)
    await make.write(store, make.result(delivery))
    await operator.says("mailing", "confirm", "june", "--by", "Ann Lee")
    shown = await operator.json("mailing", "show", mailing)
    assert shown["mailing"]["confirmation"]["by"] == "Ann Lee"
    assert shown["consents"] == [{"basis": "double_opt_in", "given": 2, "revoked": 1, "incomplete": 0}]
    assert (shown["messages"], shown["recipients"]) == (2, 2)
    assert {(each["kind"], each["count"]) for each in shown["outcomes"]} == {("delivered", 1), ("released", 1)}
    assert {each["recipient"] for each in shown["events"]} == {"ann@example.net", "bob@example.org"}
    assert [act["act"] for act in shown["history"]] == ["added", "confirmed"]
    told = await operator.says("mailing", "show", mailing)
    for part in (
        "account     shop",
        "confirmed by Ann Lee (terms 3)",
        "double_opt_in: 2 consents, 1 revoked",
        "delivered   1",
    ):
        assert part in told

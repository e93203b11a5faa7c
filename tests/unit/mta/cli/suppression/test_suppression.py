"""``mta suppression`` against a real database: adding, lifting with a reason, lists in and out."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from mta.admin.files.table_file import TableFile
from mta.cli import options
from mta.mail.address import Address
from mta.store.accounts.reviews import Setting
from mta.store.postgres.secrets import Secrets
from mta.store.store import Store
from policy.permission.suppression import Reason
from tests.unit.mta.cli.shell import Operator
from tests.unit.mta.store import make

ANN = Address.parse("ann@example.net")


@pytest.fixture
async def operator(tmp_path: Path, database_url: str, secrets: Secrets) -> Operator:
    operator = Operator(tmp_path, database_url, secrets)
    await operator.says("account", "add", "shop", "--domain", "example.com")
    return operator


async def account_id(store: Store) -> int:
    return (await store.accounts.find("shop")).account.id


async def events(store: Store, kind: str) -> list[str]:
    async with store._database.session() as connection:
        return [row["data"] for row in await connection.fetch("select data from event where kind = $1", kind)]


async def scopes(operator: Operator) -> list[tuple[str, str | None, str]]:
    listed = await operator.json("suppression", "list")
    return sorted((each["address"], each["account"], each["detail"]) for each in listed)


async def test_an_address_is_suppressed_for_everybody_unless_an_account_is_named(
    operator: Operator, store: Store
) -> None:
    assert await operator.says("suppression", "add", "Ann@Example.NET", "--account", "shop", "--reason", "asked") == (
        "Ann@example.net suppressed for shop.\n"
    )
    shop = await account_id(store)
    assert len(await store.suppressions.find(shop, [ANN])) == 1
    assert await store.suppressions.find(shop + 1, [ANN]) == []
    await operator.says("suppression", "add", "ann@example.net", "--yes")
    assert len(await store.suppressions.find(shop + 1, [ANN])) == 1
    assert "the first reason is kept" in await operator.says("suppression", "add", "ann@example.net", "--yes")
    assert len(await events(store, "suppressed")) == 2


async def test_show_tells_why_for_whom_and_by_whom(operator: Operator) -> None:
    await operator.says("suppression", "add", "ann@example.net", "--account", "shop", "--reason", "asked by phone")
    told = await operator.says("suppression", "show", "ANN@example.net")
    assert "is suppressed for shop" in told
    assert "asked by phone" in told
    assert f"evidence  by {options.operator()}" in told
    (shown,) = await operator.json("suppression", "show", "ann@example.net")
    assert (shown["account"], shown["rule"], shown["message"]) == ("shop", "operator", None)
    result = await operator.run("suppression", "show", "bob@example.net")
    assert (result.exit_code, result.stderr) == (1, "bob@example.net is not suppressed\n")


async def test_lifting_needs_a_reason_and_leaves_a_record(operator: Operator, store: Store) -> None:
    await operator.says("suppression", "add", "ann@example.net", "--yes")
    await operator.says("suppression", "add", "ann@example.net", "--account", "shop")
    assert "--reason" in await operator.fails("suppression", "remove", "--yes", "ann@example.net", status=2)
    assert "--reason" in await operator.fails(
        "suppression", "remove", "--yes", "ann@example.net", "--reason", " ", status=2
    )
    told = await operator.says("suppression", "remove", "--yes", "ann@example.net", "--reason", "signed up again")
    assert told == "ann@example.net is no longer suppressed for all accounts.\nIt is still suppressed for shop.\n"
    (event,) = await events(store, "unsuppressed")
    assert f"signed up again (by {options.operator()})" in event
    refused = await operator.fails("suppression", "remove", "--yes", "ann@example.net", "--reason", "again")
    assert refused == "ann@example.net is not suppressed for all accounts; it is for shop\n"


async def test_nothing_is_lifted_by_a_dry_run_or_without_a_yes(operator: Operator, store: Store) -> None:
    await operator.says("suppression", "add", "ann@example.net", "--yes")
    lift = ("suppression", "remove", "ann@example.net", "--reason", "signed up again")
    assert "would be lifted" in await operator.says(*lift, "--dry-run")
    assert "Lift the suppression" in await operator.fails(*lift)
    assert len(await store.suppressions.list()) == 1


async def test_a_list_is_imported_with_or_without_a_header_line(operator: Operator) -> None:
    (operator.folder / "plain.csv").write_text("\ufeffann@example.net\n\n  bob@example.net \n", encoding="utf-8")
    told = await operator.says("suppression", "import", str(operator.folder / "plain.csv"), "--account", "shop")
    assert told == "2 addresses suppressed, 0 already suppressed; 0 queued copies cancelled.\n"
    (operator.folder / "full.csv").write_text(
        "Reason, Address ,account,note\r\ncomplained,ANN@example.net,,x\r\n,bob@example.net,shop,\r\n"
    )
    told = await operator.says("suppression", "import", str(operator.folder / "full.csv"), "--reason", "old list")
    assert told == "1 addresses suppressed, 1 already suppressed; 0 queued copies cancelled.\n"
    assert await scopes(operator) == [
        ("ANN@example.net", None, "complained"),
        ("ann@example.net", "shop", "imported"),
        ("bob@example.net", "shop", "imported"),
    ]
    (shown, _) = await operator.json("suppression", "show", "ann@example.net")
    assert shown["evidence"] == f"by {options.operator()}, full.csv line 2"


async def test_a_list_with_mistakes_is_refused_whole_or_used_in_part(operator: Operator) -> None:
    path = operator.folder / "bad.csv"
    path.write_text("address,account\nann@example.net,\nnot an address,\nbob@example.net,nobody\n,shop\n")
    said = await operator.fails("suppression", "import", str(path))
    assert [line.removeprefix(f"{path}") for line in said.splitlines()] == [
        ":3: 'not an address': an address needs an @ and a domain",
        ":4: there is no account 'nobody'",
        ":5: '': an address needs an @ and a domain",
        ": 3 of 4 lines are bad; nothing was imported (--skip-bad)",
    ]
    assert await scopes(operator) == []
    result = await operator.run("suppression", "import", str(path), "--skip-bad")
    assert result.exit_code == 1
    assert result.stdout.startswith("1 addresses suppressed")
    assert await scopes(operator) == [("ann@example.net", None, "imported")]


async def test_many_mistakes_are_not_all_shown(operator: Operator) -> None:
    path = operator.folder / "bad.csv"
    path.write_text("x\n" * 200)
    said = await operator.fails("suppression", "import", str(path))
    assert len(said.splitlines()) == 52
    assert "... and 150 more" in said


async def test_what_is_no_file_or_no_csv_is_said(operator: Operator) -> None:
    assert "cannot be read: No such file" in await operator.fails("suppression", "import", "nowhere.csv", status=2)
    (operator.folder / "huge.csv").write_text('ann@example.net\n"' + "x" * 200_000 + '"\n')
    said = await operator.fails("suppression", "import", str(operator.folder / "huge.csv"))
    assert "huge.csv:2: is not CSV: field larger than field limit" in said


async def test_a_list_of_several_thousands_goes_in_and_comes_out_again(operator: Operator, store: Store) -> None:
    path, copy = operator.folder / "in.csv", operator.folder / "out.csv"
    path.write_text("".join(f"u{number}@example.net\n" for number in range(1, 2202)))
    assert (await operator.says("suppression", "import", str(path))).startswith(
        "2201 addresses suppressed, 0 already suppressed"
    )
    assert "2201 suppressions written" in await operator.says("suppression", "export", str(copy))
    assert (await operator.says("suppression", "import", str(copy))).startswith(
        "0 addresses suppressed, 2201 already suppressed"
    )
    assert len(await store.suppressions.list()) == 2201


async def test_export_writes_what_import_reads(operator: Operator) -> None:
    await operator.says("suppression", "add", '"a,b"@example.net', "--yes", "--reason", 'said "no"')
    await operator.says("suppression", "add", "ann@example.net", "--account", "shop")
    everything = await operator.says("suppression", "export")
    assert everything.splitlines()[0] == "address,account,topic,reason,detail,rule,since,until,key"
    assert len((await operator.says("suppression", "export", "--account", "shop")).splitlines()) == 2
    await operator.says("suppression", "remove", "--yes", '"a,b"@example.net', "--reason", "test")
    (operator.folder / "all.csv").write_text(everything)
    await operator.says("suppression", "import", str(operator.folder / "all.csv"))
    assert ('"a,b"@example.net', None, 'said "no"') in await scopes(operator)


async def test_lists_can_be_narrowed(operator: Operator) -> None:
    for number in range(3):
        await operator.says("suppression", "add", f"u{number}@example.net", "--yes")
    await operator.says("suppression", "add", "ann@example.net", "--account", "shop")
    assert [each["address"] for each in await operator.json("suppression", "list", "--account", "shop")] == [
        "ann@example.net"
    ]
    newest = await operator.json("suppression", "list", "--global", "--limit", "2")
    assert [each["address"] for each in newest] == ["u2@example.net", "u1@example.net"]
    result = await operator.run("suppression", "list", "--limit", "4")
    assert result.stdout.splitlines()[0] == "address\tfor\treason\trule\tsince\tuntil"
    assert result.stdout.splitlines()[1].startswith("ann@example.net\tshop\t")
    assert "there may be more" in result.stderr
    assert "exclude each other" in await operator.fails("suppression", "list", "--global", "--account", "x", status=2)
    assert "no account 'x'" in await operator.fails("suppression", "list", "--account", "x")
    assert "needs an @" in await operator.fails("suppression", "add", "x", status=2)


async def test_a_suppression_may_be_for_marketing_or_a_topic_of_it(operator: Operator, store: Store) -> None:
    told = await operator.says("suppression", "add", "ann@example.net", "--account", "shop", "--topic", "offers")
    assert told == 'ann@example.net suppressed for shop (marketing about "offers").\n'
    await operator.says("suppression", "add", "ann@example.net", "--yes", "--topic", "*")
    assert "all accounts (all marketing)" in await operator.says("suppression", "show", "ann@example.net")
    listed = await operator.json("suppression", "list")
    assert {(each["account"], each["topic"]) for each in listed} == {("shop", "offers"), (None, "*")}
    refused = await operator.fails("suppression", "remove", "--yes", "ann@example.net", "--reason", "asked")
    assert refused.startswith(
        "ann@example.net is not suppressed for all accounts; it is for all accounts (all marketing)"
    )
    told = await operator.says("suppression", "remove", "--yes", "ann@example.net", "--reason", "asked", "--topic", "*")
    assert told.endswith('It is still suppressed for shop (marketing about "offers").\n')
    (operator.folder / "all.csv").write_text(await operator.says("suppression", "export"))
    await operator.says(
        "suppression", "remove", "--yes", "ann@example.net", "--reason", "x", "--account", "shop", "--topic", "offers"
    )
    await operator.says("suppression", "import", str(operator.folder / "all.csv"))
    assert [each.topic for each in await store.suppressions.list()] == ["offers"]


async def test_the_reason_says_what_follows(operator: Operator, store: Store) -> None:
    said = await operator.says(
        "suppression",
        "add",
        "ann@example.net",
        "--account",
        "shop",
        "--reason-code",
        "objection",
        "--reason",
        "by letter",
    )
    assert said == "ann@example.net suppressed for shop.\n"
    (shown,) = await operator.json("suppression", "show", "ann@example.net")
    assert (shown["reason"], shown["detail"], shown["until"]) == ("objection", "by letter", None)
    assert shown["evidence"] == f"ledger entry 1: by {options.operator()}"
    assert (await store.consents.head(await account_id(store))).number == 1
    refused = await operator.fails(
        "suppression", "add", "ann@example.net", "--yes", "--reason-code", "complaint", "--expire", "30d", status=2
    )
    assert "a suppression for complaint never expires" in refused
    lifted = await operator.says(
        "suppression", "remove", "--yes", "ann@example.net", "--account", "shop", "--reason", "was another Ann"
    )
    assert "marketing mail needs a new one" in lifted
    (event,) = await events(store, "unsuppressed")
    assert f'"by": "{options.operator()}"' in event


async def test_an_operators_may_end(operator: Operator) -> None:
    said = await operator.says("suppression", "add", "ann@example.net", "--yes", "--expire", "30d")
    assert " until 20" in said
    assert "  until     20" in await operator.says("suppression", "show", "ann@example.net")
    await operator.says("suppression", "add", "bob@example.net", "--yes", "--reason-code", "hard_bounce")
    assert [each["address"] for each in await operator.json("suppression", "list", "--reason-code", "hard_bounce")] == [
        "bob@example.net"
    ]


async def test_a_profile_may_keep_who_unsubscribed_for_good(operator: Operator, store: Store) -> None:
    profile = operator.folder / "apple.toml"
    profile.write_text('about = "As Apple asks."\nextends = "marketing"\n[suppressions]\nafter_unsubscribe = "never"\n')
    operator.config.write_text(f'{operator.config.read_text()}\n[policy]\nprofiles = ["{profile}"]\n')
    shop = await account_id(store)
    await store.reviews.set(shop, {Setting.PROFILE: "apple"}, by="test")
    for scope in (shop, None):
        await store.suppressions.add(scope, ANN, Reason.UNSUBSCRIBE, topic="*")
    lift = ("suppression", "remove", "--yes", "ann@example.net", "--reason", "signed up again", "--topic", "*")
    for scope in (("--account", "shop"), ()):
        said = await operator.fails(*lift, *scope)
        assert 'profile "apple" of account shop keeps a suppression for unsubscribe for good' in said
    given = (
        "consent",
        "add",
        "--account",
        "shop",
        "ann@example.net",
        "topics=news",
        "basis=double_opt_in",
        "given_at=2026-01-05",
    )
    assert "for good" in await operator.fails(*given, "--lift")
    assert len(await store.suppressions.find(shop, [ANN])) == 2
    await store.suppressions.add(shop, ANN, Reason.HARD_BOUNCE)
    assert "no longer suppressed" in await operator.says(*lift[:-2], "--account", "shop")


async def test_hashes_and_ends_come_out_and_go_in_again(operator: Operator, store: Store) -> None:
    shop, act = await account_id(store), store.suppressions.act
    until = datetime(2099, 1, 31, tzinfo=UTC)
    await store.suppressions.apply(
        [
            replace(act(shop, ANN, Reason.UNSUBSCRIBE, topic="*"), address=None),
            act(None, Address.parse("bob@example.net"), Reason.SOFT_BOUNCES, detail="mailbox_full", expires_at=until),
        ]
    )
    path = operator.folder / "all.csv"
    path.write_text(await operator.says("suppression", "export"))
    await make.execute(store, "delete from suppression")
    assert (await operator.says("suppression", "import", str(path))).startswith("2 addresses suppressed")
    found = await store.suppressions.find(shop, [ANN, Address.parse("bob@example.net")])
    assert [(each.reason, each.topic, each.until) for each in found] == [
        (Reason.UNSUBSCRIBE, "*", None),
        (Reason.SOFT_BOUNCES, "", until),
    ]
    path.write_text(
        "address,reason,until,key\n,manual,,xyz\nann@example.net,objection,2099-01-01,\nann@example.net,,soon,\n"
    )
    said = await operator.fails("suppression", "import", str(path))
    assert [line.removeprefix(str(path)) for line in said.splitlines()] == [
        ":2: 'xyz' is not a key: 32 hexadecimal digits, as `mta suppression export` writes them",
        ":3: a suppression for objection never expires: leave `until` empty",
        ":4: until 'soon' is not a date: 2027-01-31 or 2027-01-31T12:00:00+00:00",
        ": 3 of 3 lines are bad; nothing was imported (--skip-bad)",
    ]


async def test_an_import_that_was_cut_off_goes_on_where_it_stopped(operator: Operator, store: Store) -> None:
    path = operator.folder / "in.csv"
    path.write_text("".join(f"u{number}@example.net,\n" for number in range(20)))
    with TableFile.open(path) as file:
        mark = await store.suppressions.begin_import(file.digest("imported", None))
    await store.suppressions.apply([], replace(mark, records=15))
    result = await operator.run("suppression", "import", str(path))
    assert "Resuming after the first 15 addresses" in result.stderr
    assert result.stdout == "5 addresses suppressed, 0 already suppressed; 0 queued copies cancelled.\n"
    again = await operator.says("suppression", "import", str(path))
    assert again == "15 addresses suppressed, 5 already suppressed; 0 queued copies cancelled.\n"


async def test_a_suppression_for_everybody_is_asked_for(operator: Operator) -> None:
    asked = await operator.fails("suppression", "add", "ann@example.net", status=1)  # nobody answers
    assert "No account may mail ann@example.net any more" in asked
    assert "is not suppressed" in await operator.fails("suppression", "show", "ann@example.net")

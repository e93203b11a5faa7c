"""``mta lint`` against a real database: the verdict, the reasons, the exit status; and nothing is changed."""

from __future__ import annotations

from pathlib import Path

import pytest

from mta.store.postgres.secrets import Secrets
from mta.store.store import Store
from tests.unit.mta.cli.shell import Operator

GOOD = "From: Ann <ann@example.com>\nTo: bob@example.net\nSubject: Your order\n\nIt is on its way.\n"


@pytest.fixture
async def operator(tmp_path: Path, database_url: str, secrets: Secrets) -> Operator:
    operator = Operator(tmp_path, database_url, secrets)
    await operator.says(
        "account", "add", "shop", "--domain", "example.com", "--approve", "known to us", "--verified"
    )  # fmt: skip
    return operator


def write(operator: Operator, text: str | bytes = GOOD, name: str = "message.eml") -> str:
    path = operator.folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return str(path)


async def refused(operator: Operator, *words: str) -> dict[str, str]:
    """What refuses, by rule."""
    found = await operator.json("lint", *words, "--account", "shop", status=1)
    assert found["verdict"] == "refused"
    return {each["policy"]: each["evidence"] for each in found["findings"] if each["verdict"] == "refuse"}


async def test_a_message_that_would_be_accepted(operator: Operator) -> None:
    result = await operator.run("lint", write(operator), "--account", "shop")
    assert result.exit_code == 0, result.output
    assert result.stdout.endswith("would be accepted\n")
    assert "profile transactional (" in result.stdout
    found = await operator.json("lint", write(operator), "--account", "shop")
    assert (found["verdict"], found["reply"], found["holds"]) == ("accepted", None, [])
    assert (found["sender"], found["recipients"], found["stream"]) == (
        "ann@example.com",
        ["bob@example.net"],
        "transactional",
    )
    rules = [each["policy"] for each in found["findings"]]
    assert rules[0] == "account_state"
    assert rules[-1] == "dkim"
    assert {"size", "headers", "sender_identity", "suppressed"} <= set(rules)


async def test_the_message_as_it_would_leave(operator: Operator) -> None:
    file = operator.folder / "leaves.eml"
    await operator.run("lint", write(operator), "--account", "shop", "--output", str(file))
    assert file.read_bytes().startswith(b"Received: from mta lint")
    assert file.read_bytes().endswith(b"\r\n\r\nIt is on its way.\r\n")


async def test_every_rule_that_refuses_is_shown_with_its_fix(operator: Operator) -> None:
    await operator.says("suppression", "add", "bob@example.net", "--yes", "--reason", "asked")
    file = write(operator, GOOD.replace("ann@example.com", "ann@example.org"))
    reasons = await refused(operator, file)
    assert set(reasons) == {"sender_identity", "suppressed"}
    found = await operator.json("lint", file, "--account", "shop", status=1)
    fixes = {each["policy"]: each["fix"] for each in found["findings"] if each["verdict"] == "refuse"}
    assert fixes["suppressed"] == "remove the address from your list"
    assert found["reply"]["code"] == 550
    result = await operator.run("lint", file, "--account", "shop")
    assert result.exit_code == 1
    assert "would be refused: 550 5.7.1 sender_identity: " in result.stdout


async def test_several_recipients(operator: Operator) -> None:
    await operator.says("suppression", "add", "bob@example.net", "--yes")
    found = await operator.json(
        "lint",
        write(operator),
        "--account",
        "shop",
        "--recipient",
        "bob@example.net",
        "--recipient",
        "eve@example.net",
        status=1,
    )
    judged = {each["recipient"]: each["verdict"] for each in found["findings"] if each["policy"] == "suppressed"}
    assert judged == {"bob@example.net": "refuse", "eve@example.net": "pass"}


async def test_under_another_profile(operator: Operator) -> None:
    file = write(operator, "X-MTA-Stream: marketing\n" + GOOD)
    assert list(await refused(operator, file)) == ["stream"]
    reasons = await refused(operator, file, "--profile", "gmail_yahoo_2024")
    assert {"opt_in", "confirmation", "terms", "unsubscribe"} <= set(reasons)
    assert "consent of <bob@example.net>" in reasons["opt_in"]
    own = operator.folder / "mild.toml"
    own.write_text('extends = "gmail_yahoo_2024"\n[marketing]\nchain = ["opt_in"]\nobserve = ["opt_in"]\n')
    found = await operator.json("lint", file, "--account", "shop", "--profile", str(own))
    assert (found["profile"], found["verdict"]) == ("mild", "accepted")
    assert [each["verdict"] for each in found["findings"] if each["policy"] == "opt_in"] == ["observe"]


async def test_a_key_is_needed_where_signing_is(tmp_path: Path, database_url: str, secrets: Secrets) -> None:
    operator = Operator(tmp_path, database_url, secrets, "[signing]\nrequire = true\n")
    await operator.says("account", "add", "shop", "--domain", "example.com", "--approve", "known", "--verified")
    assert await refused(operator, write(operator)) == {"dkim": "no active key for example.com"}
    result = await operator.run("lint", write(operator), "--account", "shop")
    assert "would be deferred: 451 4.7.5 " in result.stdout


async def test_what_it_asks_of_us_is_read_as_from_a_client(operator: Operator) -> None:
    reasons = await refused(operator, write(operator, "X-MTA-Stream: spam\n" + GOOD))
    assert reasons == {"headers": "X-MTA-Stream must be `marketing` or `transactional`"}


async def test_a_quota_is_looked_at_and_not_used(operator: Operator, store: Store) -> None:
    async with store._database.session() as connection:
        await connection.execute("update account set quota_day = 1")
    for _ in range(2):
        found = await operator.json("lint", write(operator), "--account", "shop")
        assert [each["evidence"] for each in found["findings"] if each["policy"] == "quota"] == ["1 left of 1 a day"]
    two = ("--recipient", "bob@example.net", "--recipient", "eve@example.net")
    assert "quota" in await refused(operator, write(operator), *two)
    async with store._database.session() as connection:
        assert await connection.fetchval("select coalesce(sum(used), 0) from quota_usage") == 0


async def test_nothing_is_changed(operator: Operator, store: Store) -> None:
    await operator.says("lint", write(operator), "--account", "shop")
    async with store._database.session() as connection:
        for table in ("message", "rejection", "queue", "event", "quota_usage"):
            assert await connection.fetchval(f"select count(*) from {table}") == 0, table


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b" \r\n\n", "is empty"),
        (b"no header at all", "is not of the form `Name: value`"),
        (b"\nonly a body\n", "it has no header"),
        (b"\x00\x01\xff\xfe" * 20, "not a message"),
        (b"From: ann@example.com\nTo: a@example.net, b@example.net\n\nx\n", "name the recipient with --recipient"),
        (b"From: ann@example.com\n\nx\n", "its To field is empty; name the recipient with --recipient"),
    ],
)
async def test_a_file_that_cannot_be_read(operator: Operator, content: bytes, said: str) -> None:
    assert said in await operator.fails("lint", write(operator, content), "--account", "shop", status=2)


async def test_what_cannot_be_judged(operator: Operator) -> None:
    file = write(operator)
    assert "cannot be read: No such file" in await operator.fails("lint", file + "x", "--account", "shop", status=2)
    assert "cannot be read" in await operator.fails("lint", str(operator.folder), "--account", "shop", status=2)
    assert "nobody" in await operator.fails("lint", file, "--account", "nobody", status=2)
    assert "--recipient bob" in await operator.fails("lint", file, "--account", "shop", "--recipient", "bob", status=2)
    assert 'no credential "other"' in await operator.fails(
        "lint", file, "--account", "shop", "--credential", "other", status=2
    )
    assert "did you mean" in await operator.fails(
        "lint", file, "--account", "shop", "--profile", "cleverreech", status=2
    )
    bad = write(operator, "[marketing]\nchains = []\n", "bad.toml")
    assert f'{bad}:2: marketing.chains: unknown key; did you mean "chain"?' in await operator.fails(
        "lint", file, "--account", "shop", "--profile", bad, status=2
    )
    assert "needs a file and --account" in await operator.fails("lint", file, status=2)


async def test_line_ends_do_not_matter(operator: Operator) -> None:
    for ends in ("\n", "\r\n", "\r"):
        await operator.says("lint", write(operator, GOOD.replace("\n", ends)), "--account", "shop")


async def test_profiles_are_listed_shown_and_checked(operator: Operator) -> None:
    listed = {each["name"]: each for each in await operator.json("profile", "list")}
    assert listed["transactional"]["streams"] == ["transactional"]
    assert listed["cleverreach"]["line"][-2:] == ["csa", "cleverreach"]
    for name in listed:
        copy = write(operator, await operator.says("profile", "show", name), f"{name}.toml")
        assert "ok: " in await operator.says("profile", "check", copy)
        shown = await operator.run("lint", write(operator), "--account", "shop", "--profile", copy, "--json")
        assert listed[name]["digest"] in shown.stdout, "what is shown is a file that says the same"
    assert "did you mean" in await operator.fails("profile", "show", "spottler")
    bad = write(operator, 'extends = "csa"\n[rules.imprintt]\n', "own.toml")
    assert f"{bad}:2: rules.imprintt: unknown key" in await operator.fails("profile", "check", bad, status=2)

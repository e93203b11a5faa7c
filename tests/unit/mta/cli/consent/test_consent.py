"""``mta consent`` against a real database: lists in and out, bad ones told line by line, cut-off ones continued."""

from __future__ import annotations

from pathlib import Path

import pytest

from mta.admin.files import consent_import
from mta.admin.files.consent_fields import COLUMNS
from mta.cli.consent import import_file
from mta.mail.address import Address
from mta.store.postgres.errors import StoreUnavailable
from mta.store.postgres.secrets import Secrets
from mta.store.store import Store
from policy.base import RecipientFacts
from policy.permission.consent import Basis
from tests.unit.mta.cli.shell import Operator

HEADER = "address,topics,basis,given_at,confirmed_at,source_url,ip,statement,preticked\n"
REST = "2026-01-01T10:00:00Z,2026-01-01T11:05:00+01:00,https://shop.example/f,192.0.2.1,Shop may mail me its offers,no"


def line(address: str, topics: str = "offers", basis: str = "double_opt_in", rest: str = REST) -> str:
    return f"{address},{topics},{basis},{rest}\n"


@pytest.fixture
async def operator(tmp_path: Path, database_url: str, secrets: Secrets) -> Operator:
    operator = Operator(tmp_path, database_url, secrets)
    await operator.says("account", "add", "shop", "--domain", "shop.example")
    return operator


async def facts(store: Store, address: str) -> RecipientFacts:
    account = (await store.accounts.find("shop")).account
    return (await store.recipients.find(account.id, [Address.parse(address)]))[0]


def write(operator: Operator, text: str | bytes, name: str = "list.csv") -> str:
    file = operator.folder / name
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return str(file)


async def bring(operator: Operator, text: str | bytes, *options: str, name: str = "list.csv") -> tuple[str, str]:
    """Both outputs of an import; a file with bad records ends with 1."""
    result = await operator.run("consent", "import", write(operator, text, name), "--account", "shop", *options)
    assert result.exit_code == (1 if result.stderr else 0), result.output
    return result.stdout, result.stderr.replace(str(operator.folder) + "/", "")


async def test_a_list_is_recorded_once(operator: Operator, store: Store) -> None:
    text = HEADER + line("ann@example.net") + line("bob@example.net", "offers|news") + line("Ann@example.NET")
    told, _ = await bring(operator, text)
    assert told == "3 records read: 2 recorded, 1 already recorded, 0 bad.\n"
    assert {min(each.topics) for each in (await facts(store, "bob@example.net")).consents} == {"offers", "news"}
    again = await operator.run("consent", "import", write(operator, text), "--account", "shop")
    assert (again.exit_code, "was imported before, all 3 records" in again.stderr) == (0, True)
    assert "0 recorded, 3 already recorded" in (await bring(operator, text, "--force"))[0]
    assert "shop: 2 entries, chain intact; head 2:" in await operator.says("consent", "verify")


async def test_every_bad_record_is_told_with_its_line_and_the_others_recorded(operator: Operator) -> None:
    rows = [
        line("ann@example.net"),
        line("no address"),
        line("bob@example.net", basis="magic"),
        line("bob@example.net", topics="*!"),
        line("bob@example.net", rest="yesterday,,,,,"),
        line("bob@example.net", rest="2026-01-01 10:00,,,,,"),
        line("bob@example.net", rest="2999-01-01T10:00:00Z,,,,,"),
        line("bob@example.net", rest="2026-01-02T10:00:00Z,2026-01-01T10:00:00Z,,,,"),
        line("bob@example.net", rest="2026-01-02T10:00:00Z,,,299.1.1.1,,"),
        line("bob@example.net", rest="2026-01-02T10:00:00Z,,,,,perhaps"),
        "bob@example.net,offers\n",
        line("carl@example.net"),
    ]
    told, errors = await bring(operator, HEADER + "".join(rows))
    assert told.startswith("12 records read: 2 recorded, 0 already recorded, 10 bad.\n")
    expected = [
        "list.csv:3: address: 'no address'",
        "list.csv:4: basis: 'magic' is not one of: double_opt_in",
        "list.csv:5: topics: '*!' is no topic",
        "list.csv:6: given_at: 'yesterday' is not a time such as 2026-03-01T12:00:00Z",
        "list.csv:7: given_at: '2026-01-01 10:00' has no zone",
        "list.csv:8: given_at: 2999-01-01T10:00:00Z is in the future",
        "list.csv:9: confirmed_at: is before given_at",
        "list.csv:10: ip: '299.1.1.1' is not an IP address",
        "list.csv:11: preticked: 'perhaps' is neither yes nor no",
        "list.csv:12: has 2 fields instead of 9; is the file cut off here?",
    ]
    for found, wanted in zip(errors.splitlines(), expected, strict=True):
        assert found.startswith(wanted)


async def test_half_a_file_is_used_as_far_as_it_goes(operator: Operator) -> None:
    whole = HEADER + line("ann@example.net") + line("bob@example.net")
    told, errors = await bring(operator, whole[:-30])
    assert told.startswith("2 records read: 1 recorded, 0 already recorded, 1 bad.")
    assert "list.csv:3: has " in errors
    assert "cut off" in errors
    told, errors = await bring(operator, HEADER + line("carl@example.net") + '"dora@example.net,offers,')
    assert "1 recorded" in told
    assert "list.csv:3: a quotation mark is not closed before the end of the file" in errors


async def test_malformed_csv_hides_nothing_behind_it(operator: Operator) -> None:
    odd = HEADER + line("ann@example.net") + line('"bob"@example.net') + line("carl@example.net")
    told, errors = await bring(operator, odd)
    assert "2 recorded" in told
    assert "list.csv:3: is not CSV" in errors


async def test_wrong_encodings_are_told_where_they_are(operator: Operator, store: Store) -> None:
    good = line("ann@example.net").encode()
    latin = line("bob@example.net").replace("Shop may", "Ja für Shop").encode("latin-1")
    _, errors = await bring(operator, HEADER.encode() + good + latin)
    assert errors == "list.csv:3: statement: octet 0xFC, which is not UTF-8 at position 5; save the file as UTF-8\n"
    wide = (HEADER + line("carl@example.net")).encode("utf-16")
    result = await operator.fails("consent", "import", write(operator, wide), "--account", "shop", status=2)
    assert "save it as UTF-8" in result
    marked = (
        b"\xef\xbb\xbf"
        + (HEADER + line("dora@example.net").replace("Shop may", "Ja für Shop")).replace(",", ";").encode()
    )
    assert "1 recorded" in (await bring(operator, marked))[0]
    assert len((await facts(store, "dora@example.net")).consents) == 1


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("ann@example.net,offers\n", "the first line does not name the columns"),
        ("", "the first line does not name the columns"),
        ("address,topics,basis\n", "column given_at is missing"),
        (HEADER.replace("statement", "statment"), "column 'statment' is not known; did you mean statement?"),
        (HEADER.replace("ip,", "topics,"), "column topics appears twice"),
        ("\0\1\2\3", "not text"),
    ],
)
async def test_a_file_with_other_columns_is_not_used(operator: Operator, text: str, told: str) -> None:
    error = await operator.fails("consent", "import", write(operator, text), "--account", "shop", status=2)
    assert told in error


async def test_json_lines(operator: Operator, store: Store) -> None:
    text = (
        '{"address": "ann@example.net", "topics": ["offers", "news"], "basis": "offline_form", '
        f'"given_at": "2026-01-01", "document": "{"Ab" * 32}", "statement": "Shop may mail me its offers", '
        '"preticked": false, "ip": null}\n'
        '\n{"address": "bob@example.net", "topic": "x"}\n[1]\n{"address": 7}\n{"address": "bo'
    )
    told, errors = await bring(operator, text, name="list.jsonl")
    assert told.startswith("5 records read: 1 recorded")
    lines = errors.splitlines()
    assert lines[0].startswith("list.jsonl:3: 'topic' is not known")
    assert lines[1] == "list.jsonl:4: is not a JSON object"
    assert lines[2].startswith("list.jsonl:5: address: must be a string")
    assert "list.jsonl:6: is not JSON in UTF-8" in lines[3]
    assert lines[3].endswith("is the file cut off here?")
    assert all(each.missing == () for each in (await facts(store, "ann@example.net")).consents)


async def test_what_a_list_leaves_unsaid_is_given_with_the_command(operator: Operator, store: Store) -> None:
    text = "address,given_at,document\nann@example.net,2026-07-01 12:00," + "a" * 64 + "\n"
    options = ("--topics", "fair", "--basis", "business_card", "--zone", "Europe/Amsterdam")
    assert "1 recorded" in (await bring(operator, text, *options))[0]
    (consent,) = (await facts(store, "ann@example.net")).consents
    assert (min(consent.topics), consent.missing, consent.given_at.hour) == ("fair", (), 10)


async def test_what_no_mail_can_go_by_is_said(operator: Operator) -> None:
    text = HEADER + line("ann@example.net", basis="bought") + line("bob@example.net", rest="2026-01-01T10:00:00Z,,,,,")
    told, _ = await bring(operator, text)
    assert "Some cannot be used yet. Missing evidence:" in told
    assert "  1  basis bought\n" in told
    assert "  1  the time of the confirmation (confirmed_at)\n" in told


async def test_checking_records_nothing(operator: Operator, store: Store) -> None:
    told, _ = await bring(operator, HEADER + line("ann@example.net"), "--dry-run")
    assert told.startswith("1 records read: 0 recorded")
    assert (await facts(store, "ann@example.net")).consents == ()


async def test_an_import_that_was_cut_off_goes_on_where_it_stopped(
    operator: Operator, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consent_import, "CHUNK", 10)
    text = HEADER + "".join(line(f"a{n}@example.net") for n in range(35)) + "half a line"
    record = type(store.consents).record

    async def failing(self: object, account_id: int, given: list[object], **more: object) -> object:
        if more["mark"].records > 20:  # type: ignore[attr-defined]
            raise StoreUnavailable("gone")
        return await record(self, account_id, given, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(type(store.consents), "record", failing)
    error = await operator.fails("consent", "import", write(operator, text), "--account", "shop")
    assert "import the file again: it resumes where it stopped" in error
    monkeypatch.setattr(type(store.consents), "record", record)
    told, errors = await bring(operator, text)
    assert "Resuming after the first 20 records" in errors
    assert told.startswith("36 records read: 15 recorded, 0 already recorded, 1 bad.")
    assert "shop: 35 entries, chain intact" in await operator.says("consent", "verify")


async def test_what_is_exported_can_be_imported(operator: Operator, store: Store) -> None:
    await bring(operator, HEADER + line("ann@example.net", "offers|news") + line("bob@example.net"))
    await operator.says(
        "consent", "revoke", "ann@example.net", "--account", "shop", "--topic", "news", "--reason", "x", "--yes"
    )
    for options, name in (((), "out.csv"), (("--json",), "out.jsonl")):
        target = operator.folder / name
        told = await operator.says("consent", "export", str(target), "--account", "shop", *options)
        assert told == f"3 consents written to {target}.\n"
        other = name.partition(".")[2]
        await operator.says("account", "add", other, "--domain", f"{other}.example")
        result = await operator.says("consent", "import", str(target), "--account", other)
        assert result.startswith("3 records read: 3 recorded")
        account = (await store.accounts.find(other)).account
        (found,) = await store.recipients.find(account.id, [Address.parse("ann@example.net")])
        assert {min(each.topics): each.revoked_at is not None for each in found.consents} == {
            "offers": False,
            "news": True,
        }
        assert [each.topic for each in found.suppressions] == ["news"]


async def test_one_consent_by_hand(operator: Operator, store: Store) -> None:
    words = ("ann@example.net", "topics=Offers", "basis=business_card", "given_at=2026-01-01", "document=" + "0" * 64)
    assert await operator.says("consent", "add", *words, "--account", "shop") == (
        "ann@example.net: consent recorded for offers.\n"
    )
    assert "already recorded" in await operator.says("consent", "add", *words, "--account", "shop")
    assert "is not NAME=VALUE" in await operator.fails(
        "consent", "add", "ann@example.net", "colour=red", "--account", "shop", status=2
    )
    told = await operator.says("consent", "renew", "ann@example.net", "--account", "shop", "--kind", "click")
    assert told == "ann@example.net: contact recorded as ledger entry 2.\n"
    assert (await facts(store, "ann@example.net")).consents[0].clicked_at is not None
    told = await operator.says(
        "consent", "revoke", "ann@example.net", "--account", "shop", "--reason", "by phone", "--yes"
    )
    assert "consent revoked for all topics (ledger entry 3)" in told
    assert (await facts(store, "ann@example.net")).consents[0].revoked_at is not None


async def test_a_changed_ledger_is_shown(operator: Operator, store: Store) -> None:
    await bring(operator, HEADER + line("ann@example.net"))
    head = (await operator.says("consent", "verify", "--account", "shop")).split()[-1]
    await operator.says("consent", "verify", "--account", "shop", "--head", head)
    async with store._database.session() as connection:
        await connection.execute("update consent_entry set at = at + interval '1 microsecond'")
    result = await operator.run("consent", "verify")
    assert result.exit_code == 1
    assert "shop: entry 1: its hash does not follow" in result.stdout
    assert "is not a head" in await operator.fails("consent", "verify", "--account", "shop", "--head", "7", status=2)


async def test_the_dossier_of_an_address(operator: Operator, tmp_path: Path) -> None:
    await bring(operator, HEADER + line("ann@example.net", "offers|news"))
    await operator.says(
        "consent", "revoke", "ann@example.net", "--account", "shop", "--topic", "news", "--reason", "x", "--yes"
    )
    told = await operator.says("consent", "show", "Ann@example.NET", "--language", "nl")
    assert told.startswith("BEWIJS VAN TOESTEMMING")
    assert "ingetrokken op" in told
    (record,) = await operator.json("consent", "show", "ann@example.net", "--account", "shop")
    assert [each["kind"] for each in record["entries"]] == ["given", "revoked"]
    assert record["entries"][0]["evidence"]["ip"] == "192.0.2.1"
    page = tmp_path / "dossier.html"
    await operator.says("consent", "show", "ann@example.net", "--html", str(page), "--language", "fr")
    assert "Preuve du consentement" in page.read_text()
    assert "nothing is recorded" in await operator.fails("consent", "show", "bob@example.net")


def test_the_document_names_every_column_basis_and_requirement() -> None:
    text = (Path(import_file.__file__).parents[3] / "docs" / "consents.md").read_text(encoding="utf-8")
    names = [*COLUMNS, *(basis.value for basis in Basis if basis is not Basis.OBJECTION)]
    assert [name for name in names if f"`{name}`" not in text] == []

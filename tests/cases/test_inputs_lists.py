"""Lists as spreadsheets write them, and addresses with characters that their readers cannot see."""

from __future__ import annotations

from pathlib import Path

import pytest

from mta.mail.address import Address
from mta.store.postgres.secrets import Secrets
from mta.store.store import Store
from tests.unit.mta.cli.shell import Operator
from tests.unit.mta.submission_rig import submission

INPUTS = Path(__file__).with_name("inputs")
HEADER = "address,topics,basis,given_at\n"


@pytest.fixture
async def operator(tmp_path: Path, database_url: str, secrets: Secrets) -> Operator:
    operator = Operator(tmp_path, database_url, secrets)
    await operator.says("account", "add", "shop", "--domain", "shop.example")
    return operator


async def suppressed(operator: Operator) -> list[str]:
    return sorted(each["address"] for each in await operator.json("suppression", "list"))


def write(operator: Operator, content: bytes) -> str:
    path = operator.folder / "list.csv"
    path.write_bytes(content)
    return str(path)


async def test_a_byte_order_mark_inside_a_list_is_named(operator: Operator) -> None:
    said = await operator.fails("suppression", "import", str(INPUTS / "14-suppress-with-bom-inside.csv"))
    assert "14-suppress-with-bom-inside.csv:2: " in said
    assert "U+FEFF ZERO WIDTH NO-BREAK SPACE at position 1" in said
    assert await suppressed(operator) == []


async def test_consent_is_not_recorded_for_an_address_that_looks_like_another(operator: Operator) -> None:
    path = str(INPUTS / "15-consent-zero-width.csv")
    result = await operator.run("consent", "import", path, "--account", "shop")
    assert result.exit_code == 1
    assert result.stdout.startswith("3 records read: 0 recorded")
    said = [line.removeprefix(f"{path}:") for line in result.stderr.splitlines()]
    for line, place, name in zip(
        said, ("2: ", "3: ", "4: "), ("U+200B ZERO WIDTH SPACE", "U+00AD SOFT HYPHEN", "U+200B"), strict=True
    ):
        assert line.startswith(place)
        assert name in line
        assert " at position " in line


async def test_a_recipient_with_a_zero_width_space_is_refused_by_name() -> None:
    hello, sender, recipient = (INPUTS / "16-rcpt-zero-width.txt").read_bytes().splitlines(keepends=True)
    async with submission() as rig:
        client = await rig.greeted()
        await client.ask(hello)
        assert (await client.ask(sender)).startswith("250")
        reply = await client.ask(recipient)
        assert reply.startswith("501 5.1.3 ")
        assert "U+200B ZERO WIDTH SPACE at position 4" in reply


@pytest.mark.parametrize("name", ["17-old-mac-line-ends.csv", "P4-spreadsheet.csv"])
async def test_consents_of_an_old_mac_and_of_a_spreadsheet_are_read(operator: Operator, name: str) -> None:
    told = await operator.says("consent", "import", str(INPUTS / name), "--account", "shop")
    assert told.startswith("1 records read: 1 recorded, 0 already recorded, 0 bad.")


@pytest.mark.parametrize(
    "content",
    [
        b"address;reason\r\numa@good.example;manual\r\n",
        b"sep=;\r\nAddress;Reason;\r\numa@good.example;manual;\r\n;;\r\n",
        b'"sep=|"\r\n"address"|"reason"\r\n"uma@good.example"|manual\r\n',
        b"\xef\xbb\xbfsep=\t\naddress\treason\numa@good.example\tmanual\n",
        b"address\treason\ruma@good.example\tmanual\r",
        b'address, "reason" ,\n "uma@good.example" , "manual",\n'.replace(b'" ,', b'",'),
        b"SEP=,\naddress,reason,,\numa@good.example,manual,,\n",
    ],
)
async def test_suppressions_are_read_by_the_same_reader(operator: Operator, content: bytes) -> None:
    told = await operator.says("suppression", "import", write(operator, content))
    assert told.startswith("1 addresses suppressed")
    assert await suppressed(operator) == ["uma@good.example"]


@pytest.mark.parametrize(
    ("row", "told"),
    [
        (b"j\xfcrgen@good.example,offers,double_opt_in,2026-10-01", "octet 0xFC, which is not UTF-8"),
        (b"ann@good.example\x00,offers,double_opt_in,2026-10-01", "U+0000 control character at position 17"),
        (b'"ann"@good.example,offers,double_opt_in,2026-10-01', "is not CSV"),
        (b"x" * 1_500_000, "has more than 1048576 characters"),
        ("a\ufffdn@good.example,offers,double_opt_in,2026-10-01".encode(), "U+FFFD REPLACEMENT CHARACTER"),
    ],
    ids=["latin-1", "nul", "quotes", "endless", "lost"],
)
async def test_a_bad_line_is_told_and_hides_no_other(operator: Operator, store: Store, row: bytes, told: str) -> None:
    good = b"zoe@good.example,offers,double_opt_in,2026-10-01\n"
    path = write(operator, HEADER.encode() + row + b"\n" + good)
    for words in (("consent", "import", path, "--account", "shop"), ("suppression", "import", path, "--skip-bad")):
        result = await operator.run(*words)
        assert result.exit_code == 1, result.output
        assert f"{path}:2: " in result.stderr
        assert told in result.stderr
        assert "Traceback" not in result.output
    account = (await store.accounts.find("shop")).account.id
    (zoe,) = await store.recipients.find(account, [Address.parse("zoe@good.example")])
    assert len(zoe.consents) == 1
    assert await suppressed(operator) == ["zoe@good.example"]


async def test_a_file_of_wide_characters_is_refused_by_both(operator: Operator) -> None:
    path = write(operator, (HEADER + "ann@good.example").encode("utf-16"))
    assert "save it as UTF-8" in await operator.fails("consent", "import", path, "--account", "shop", status=2)
    assert "save it as UTF-8" in await operator.fails("suppression", "import", path, status=2)

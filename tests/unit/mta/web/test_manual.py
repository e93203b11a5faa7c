"""docs/webhooks.md: the piece of code that receivers copy does what it says, and the tables are complete."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bounce.rules import load_rules
from mta.admin.service.webhook_client import sign
from mta.mail.delivery import Fault
from mta.observe.account_events import AccountEvent, fields
from tests.unit.mta.observe.test_account_events import failed

ROOT = Path(__file__).parents[4]
MANUAL = (ROOT / "docs" / "webhooks.md").read_text()
SECRET, AT, BODY = "whsec_abc", 1_700_000_000, b'{"account":"shop","events":[]}'


def is_genuine() -> Callable[..., bool]:
    (code,) = re.findall(r"```python\n(.*?)```", MANUAL, re.DOTALL)
    names: dict[str, Callable[..., bool]] = {}
    exec(code, names)
    return names["is_genuine"]


CHECK = is_genuine()


@given(st.binary(max_size=200), st.text(min_size=1, max_size=20), st.integers(min_value=0, max_value=2**40))
def test_what_we_sign_is_genuine(body: bytes, secret: str, at: int) -> None:
    assert CHECK(secret, sign([secret], at, body), body, now=at + 1)
    assert CHECK(secret, sign(["other", secret], at, body), body, now=at)
    assert not CHECK(secret, sign([secret + "x"], at, body), body, now=at)
    assert not CHECK(secret, sign([secret], at, body), body + b" ", now=at)
    assert not CHECK(secret, sign([secret], at, body).replace(f"t={at}", f"t={at + 1}"), body, now=at)


@pytest.mark.parametrize("late", [301, 3600, -301])
def test_an_old_signature_is_not(late: int) -> None:
    assert not CHECK(SECRET, sign([SECRET], AT, BODY), BODY, now=AT + late)


@pytest.mark.parametrize("signature", ["", "t=", "v1=", "t=1,t=2,v1=a", "t=²,v1=a", "t=-5", "garbage", "t=1700000000"])
def test_what_is_no_signature_is_not_one_and_does_not_raise(signature: str) -> None:
    assert not CHECK(SECRET, signature, BODY, now=AT)
    assert not CHECK(SECRET, signature + ",v1=é", BODY, now=AT)


def test_every_field_and_kind_is_in_the_manual() -> None:
    listed = set(re.findall(r"`(\w+)`", "\n".join(line.split("|")[1] for line in MANUAL.splitlines() if "|" in line)))
    event: AccountEvent = failed()
    assert set(fields(event)) <= listed
    schema = ROOT / "mta" / "store" / "postgres" / "schema"
    written = "".join(file.read_text() for file in sorted(schema.glob("*.sql"))).partition("function outbox_of_events")[
        2
    ]
    kinds = set(re.findall(r"'([a-z_]+)'", written.partition("where e.kind in (")[2].partition(")")[0]))
    kinds |= {"accepted", "unsubscribed"}
    assert len(kinds) == 11
    assert kinds <= listed


def test_the_categories_are_those_of_the_bounce_rules() -> None:
    table = MANUAL.partition("| fault | categories |")[2].partition("\n\n")[0]
    listed = {name for row in table.splitlines() if "various" not in row for name in re.findall(r"`(\w+)`", row)}
    book = load_rules()
    assert listed - {fault.value for fault in Fault} == set(book.categories)
    assert set(re.findall(r'"category":"(\w+)"', MANUAL)) == {"bad_mailbox"}
    assert set(re.findall(r'"rule":"([\w-]+)"', MANUAL)) <= {rule.id for rule in book.rules}

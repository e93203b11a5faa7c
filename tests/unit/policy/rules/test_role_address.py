"""Roles are found in every spelling, in five languages; people are not roles; exceptions are for transactional mail."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mta.mail.address import Address, AddressError
from policy.accounts.account import Stream
from policy.rules.recipient.role_address import RoleAddress
from policy.wordlists import shipped
from tests.unit.policy.make import CONTEXT, account, ask_recipient, facts

RULE = RoleAddress(RoleAddress.Settings(), CONTEXT)
NAMES = sorted({name for group in shipped("role_addresses").values() for name in group})


def is_role(address: str, rule: RoleAddress = RULE) -> bool:
    answer = ask_recipient(rule, address)
    assert answer.startswith(("refuse: 550 5.7.1 role_address:", "pass:"))
    return answer.startswith("refuse")


def test_the_answer_names_the_role_and_the_mend() -> None:
    assert ask_recipient(RULE, "Sales+news@example.net") == (
        "refuse: 550 5.7.1 role_address: <Sales+news@example.net> is a role (sales), not a person who can have agreed "
        "to this mail; use the address of a person, or remove it from your list"
    )


@pytest.mark.parametrize(
    "name",
    ["sales", "verkoop", "vertrieb", "ventas", "ventes", "info", "kontakt", "contacto", "abuse", "webmaster",
     "klantenservice", "klanten-service", "customer_service", "service.client", "atencionalcliente", "büro", "buero",
     "geschäftsleitung", "secrétariat", "recepción", "Postmaster", "mailer-daemon"],
)  # fmt: skip
def test_roles_in_all_languages(name: str) -> None:
    assert is_role(f"{name}@example.net")


@pytest.mark.parametrize(
    "name",
    ["ann", "ann.lee", "sales.manager.jones", "informa", "s.ales", "in.fo", "infoo", "jobs2", "supporter", "martin",
     "ann+sales", "rosa", "mark", "pia", "sven", "admina"],
)  # fmt: skip
def test_people_are_not_roles(name: str) -> None:
    assert not is_role(f"{name}@example.net")


def test_an_exception_holds_for_transactional_mail_only() -> None:
    known = account(role_exceptions=frozenset({"Info@Example.net"}))
    assert ask_recipient(RULE, "info@example.net", facts(known, Stream.TRANSACTIONAL)) == (
        "pass: info@example.net is a role, allowed to account shop for transactional mail"
    )
    assert ask_recipient(RULE, "info@example.net", facts(known)).startswith("refuse")
    assert ask_recipient(RULE, "info@example.org", facts(known, Stream.TRANSACTIONAL)).startswith("refuse")


def test_languages_and_names_can_be_chosen() -> None:
    dutch = RoleAddress(RoleAddress.Settings(languages=["nl"], also=["Wacht Dienst"], allowed=["info"]), CONTEXT)
    assert is_role("verkoop@example.net", dutch)
    assert not is_role("vertrieb@example.net", dutch)
    assert is_role("wacht-dienst@example.net", dutch)
    assert is_role("abuse@example.net", dutch)
    assert not is_role("info@example.net", dutch)


def quoted(local: str, escaped: bool) -> str:
    return '"' + "".join(f"\\{letter}" if escaped and letter.isascii() else letter for letter in local) + '"'


@given(name=st.sampled_from(NAMES), sign=st.sampled_from(["", "-", "_", "."]), data=st.data())
def test_no_odd_spelling_of_a_role_gets_through(name: str, sign: str, data: st.DataObject) -> None:
    local = sign.join(name.split())
    local = "".join(data.draw(st.sampled_from([letter, letter.upper(), letter.title()])) for letter in local)
    local = unicodedata.normalize(data.draw(st.sampled_from(["NFC", "NFD"])), local)
    wide = data.draw(st.booleans())
    if wide:
        local = "".join(
            chr(ord(letter) + 0xFEE0) if letter.isascii() and letter.isalpha() else letter for letter in local
        )
    if data.draw(st.booleans()):
        place = data.draw(st.integers(0, len(local)))
        local = local[:place] + data.draw(st.sampled_from(["\u200b", "\u00ad", "\u2060", "\ufeff"])) + local[place:]
    local += data.draw(st.sampled_from(["", "+", "+news", "+a+b"]))
    if data.draw(st.booleans()):
        local = quoted(data.draw(st.sampled_from(["", " "])) + local, data.draw(st.booleans()))
    if len(local.encode()) <= 64:
        try:
            refused = is_role(f"{local}@Bücher.example")
        except AddressError:  # a character that is not seen: no address at all
            refused = True
        assert refused


@given(st.from_regex(r"\A[a-z]{2,8}\.[a-z]{2,8}[0-9]{3}\Z"))
def test_a_name_that_is_in_no_list_is_never_a_role(local: str) -> None:
    assert not is_role(f"{local}@example.net")


def test_every_name_of_the_list_can_be_the_name_of_a_mailbox() -> None:
    for name in NAMES:
        Address.parse(f"{name.replace(' ', '-')}@example.net")
        assert name == name.lower().strip()

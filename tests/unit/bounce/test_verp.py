"""Return paths: read by whoever has the key that made them, in no other spelling, and only for a while."""

from __future__ import annotations

import hashlib
import uuid
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bounce.verp import PREFIX, InvalidReturnPath, ReturnPath, Verp
from mta.mail.address import MAX_LOCAL, Address
from mta.mail.identity import MessageId, first_id_at, new_message_id

DOMAIN = "returns.example.com"
KEEP = timedelta(days=30)
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
OLD_KEY, NEW_KEY = bytes(32), bytes(range(32))
LETTERS = "0123456789abcdefghjkmnpqrstvwxyz"

PATHS = Verp(DOMAIN, {1: OLD_KEY, 2: NEW_KEY}, KEEP)
ids = st.integers(0, 2**80 - 1).map(lambda low: uuid.UUID(int=first_id_at(NOW).int | low))
places = st.integers(0, 0xFFFFF)


def derive(purpose: str) -> bytes:
    return hashlib.sha256(purpose.encode()).digest()


@given(ids, places)
def test_what_was_made_is_read(message_id: MessageId, n: int) -> None:
    made = PATHS.make(message_id, n)
    assert PATHS.read(made, NOW) == ReturnPath(message_id, n)
    assert PATHS.make(message_id, n) == made  # greylisting knows a retry by its sender
    assert PATHS.read(Address(made.local.upper(), DOMAIN), NOW) == ReturnPath(message_id, n)


@given(ids, places)
def test_it_is_an_address_that_every_system_can_write(message_id: MessageId, n: int) -> None:
    made = PATHS.make(message_id, n)
    assert Address.parse(str(made)) == made
    assert len(made.local) == 54 <= MAX_LOCAL


def test_one_beyond_counting_has_none() -> None:
    with pytest.raises(ValueError, match="has no return path"):
        PATHS.make(new_message_id(), 2**20)


@given(ids, places, st.data())
def test_no_letter_may_be_another(message_id: MessageId, n: int, data: st.DataObject) -> None:
    local = PATHS.make(message_id, n).local
    place = data.draw(st.integers(len(PREFIX), len(local) - 1))
    letter = data.draw(st.characters(codec="utf-8").filter(lambda letter: letter.lower() != local[place]))
    other = Address(local[:place] + letter + local[place + 1 :], DOMAIN)
    assert PATHS.read(other, NOW) is InvalidReturnPath.FORGED


def test_every_cut_and_every_swap_of_seals_is_found() -> None:
    one, other = PATHS.make(new_message_id(), 0).local, PATHS.make(new_message_id(), 0).local
    for end in range(len(PREFIX), len(one)):
        assert PATHS.read(Address(one[:end], DOMAIN), NOW) is InvalidReturnPath.FORGED
    assert PATHS.read(Address(one + "0", DOMAIN), NOW) is InvalidReturnPath.FORGED
    assert PATHS.read(Address(one[:-16] + other[-16:], DOMAIN), NOW) is InvalidReturnPath.FORGED


@given(st.text(LETTERS, min_size=47, max_size=47))
def test_guesses_are_forgeries(letters: str) -> None:
    assert PATHS.read(Address(PREFIX + letters, DOMAIN), NOW) is InvalidReturnPath.FORGED


def test_ten_thousand_guesses_at_the_seal_are_forgeries() -> None:
    local = PATHS.make(new_message_id(), 0).local
    for guess in range(10_000):
        seal = "".join(LETTERS[guess >> shift & 31] for shift in range(75, -1, -5))
        assert PATHS.read(Address(local[:-16] + seal, DOMAIN), NOW) is InvalidReturnPath.FORGED


@pytest.mark.parametrize("text", ["abuse@returns.example.com", "ann@example.com", "bounces+x@returns.example.com"])
def test_other_addresses_are_none(text: str) -> None:
    assert PATHS.read(Address.parse(text), NOW) is None


def test_another_domain_is_another_installations() -> None:
    assert PATHS.read(Address(PATHS.make(new_message_id(), 0).local, "returns.example.net"), NOW) is None


def test_another_secret_reads_nothing() -> None:
    other = Verp(DOMAIN, {2: OLD_KEY}, KEEP)
    assert other.read(PATHS.make(new_message_id(), 0), NOW) is InvalidReturnPath.FORGED


@pytest.mark.parametrize(
    ("age", "good"),
    [
        (timedelta(0), True),
        (KEEP - timedelta(seconds=1), True),
        (KEEP + timedelta(seconds=1), False),
        (timedelta(hours=-23), True),  # the other machine's clock is ahead
        (timedelta(hours=-25), False),
    ],
)
def test_it_ends(age: timedelta, good: bool) -> None:
    message_id = first_id_at(NOW)
    read = PATHS.read(PATHS.make(message_id, 0), NOW + age)
    assert read == (ReturnPath(message_id, 0) if good else InvalidReturnPath.EXPIRED)


def test_keys_have_numbers_and_so_many_before_the_newest_are_kept() -> None:
    message_id = first_id_at(NOW)
    first = Verp.derived(DOMAIN, derive, 1, 0, KEEP).make(message_id, 0)
    assert Verp.derived(DOMAIN, derive, 3, 2, KEEP).read(first, NOW) == ReturnPath(message_id, 0)
    assert Verp.derived(DOMAIN, derive, 4, 2, KEEP).read(first, NOW) is InvalidReturnPath.FORGED
    # Number 17 has the letter of number 1, and another key.
    assert Verp.derived(DOMAIN, derive, 17, 100, KEEP).read(first, NOW) is InvalidReturnPath.FORGED


def test_two_keys_of_one_letter_cannot_be() -> None:
    with pytest.raises(ValueError, match="in a row"):
        Verp(DOMAIN, {1: OLD_KEY, 17: NEW_KEY}, KEEP)

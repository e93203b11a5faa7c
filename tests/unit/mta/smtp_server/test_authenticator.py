"""Checking secrets: the cache, parallel logins, revocation, what is stored and what is never kept."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_address

import pytest

from config.schema import Limits
from mta.mail.message import IPAddress
from mta.smtp_server.auth import authenticator as authentication
from mta.smtp_server.auth.authenticator import Authenticator, ScramVerifier, make_verifiers, new_secret
from mta.smtp_server.limits import MAX_REMEMBERED, REMEMBERED_FOR, Connections, Failures, Slot
from mta.smtp_server.replies import AUTH_BUSY, AUTH_FAILED, TOO_MANY_CONNECTIONS, auth_limited
from tests.unit.mta.submission_rig import Accounts

LIMITED = auth_limited(Limits().auth_window)
HERE = ip_address("192.0.2.1")
ELSEWHERE = ip_address("192.0.2.2")


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Hashing:
    """Counts verifications, and may hold them up."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.hashes: list[str] = []
        original = authentication._matches

        def counted(argon2: str, secret: str) -> bool:
            self.hashes.append(argon2)
            return original(argon2, secret)

        monkeypatch.setattr(authentication, "_matches", counted)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def hashing(monkeypatch: pytest.MonkeyPatch) -> Hashing:
    return Hashing(monkeypatch)


@pytest.fixture
def accounts() -> Accounts:
    accounts = Accounts()
    accounts.add("app", "right")
    return accounts


@pytest.fixture
def authenticator(accounts: Accounts, clock: Clock) -> Iterator[Authenticator]:
    made = Authenticator(accounts, Limits(), salt_key=b"key", clock=clock)
    yield made
    made.close()


def test_a_secret_is_long_and_plain() -> None:
    secrets = {new_secret() for _ in range(1000)}
    assert len(secrets) == 1000
    assert all(re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_-]{31}", secret) for secret in secrets)


def test_verifiers_say_nothing_of_the_secret_and_differ_each_time() -> None:
    first, second = make_verifiers("right"), make_verifiers("right")
    assert first[0].startswith("$argon2id$")
    assert first[0] != second[0]
    assert first[1] != second[1]
    verifier = ScramVerifier.parse(first[1])
    assert verifier.iterations == 4096
    assert len(verifier.salt) == 16
    assert str(verifier) == first[1]
    assert "right" not in "".join(first)


async def test_what_was_verified_is_remembered_for_a_while(
    authenticator: Authenticator, accounts: Accounts, clock: Clock, hashing: Hashing
) -> None:
    credential = accounts.credentials["app"]
    for _ in range(3):
        assert await authenticator.plain("app", "right", HERE) is credential
    assert len(hashing.hashes) == 1
    clock.now += authentication.REMEMBERED_FOR + 1
    assert await authenticator.plain("app", "right", HERE) is credential
    assert len(hashing.hashes) == 2
    assert "right" not in repr(authenticator._verified)


async def test_a_wrong_secret_is_hashed_though_the_right_one_is_remembered(
    authenticator: Authenticator, hashing: Hashing
) -> None:
    await authenticator.plain("app", "right", HERE)
    assert await authenticator.plain("app", "wrong", HERE) is AUTH_FAILED
    assert len(hashing.hashes) == 2


async def test_a_changed_or_revoked_credential_is_forgotten(
    authenticator: Authenticator, accounts: Accounts, hashing: Hashing
) -> None:
    before = accounts.credentials["app"]
    await authenticator.plain("app", "right", HERE)
    accounts.add("app", "new")
    assert await authenticator.plain("app", "right", HERE) is AUTH_FAILED
    assert authenticator.current(before) is None
    del accounts.credentials["app"]
    assert await authenticator.plain("app", "new", HERE) is AUTH_FAILED
    accounts.credentials["app"] = before
    assert await authenticator.plain("app", "right", HERE) is before
    assert len(hashing.hashes) == 4


async def test_an_account_that_changed_is_the_current_one(authenticator: Authenticator, accounts: Accounts) -> None:
    before = accounts.credentials["app"]
    accounts.credentials["app"] = after = replace(before, account=replace(before.account, name="renamed"))
    assert authenticator.current(before) is after


async def test_unknown_users_cost_the_same_work(
    authenticator: Authenticator, accounts: Accounts, hashing: Hashing
) -> None:
    assert await authenticator.plain("nobody", "right", HERE) is AUTH_FAILED
    assert await authenticator.plain("app", "wrong", HERE) is AUTH_FAILED
    decoy, real = hashing.hashes
    parameters = re.compile(r"\$argon2id\$v=19\$(m=\d+,t=\d+,p=\d+)\$([^$]+)\$([^$]+)")
    told, wanted = parameters.fullmatch(decoy), parameters.fullmatch(real)
    assert told
    assert wanted
    assert told[1] == wanted[1]
    assert [len(told[n]) for n in (2, 3)] == [len(wanted[n]) for n in (2, 3)]


async def test_clients_that_come_together_share_one_verification(
    authenticator: Authenticator, accounts: Accounts, hashing: Hashing
) -> None:
    results = await asyncio.gather(*(authenticator.plain("app", "right", HERE) for _ in range(50)))
    assert results == [accounts.credentials["app"]] * 50
    assert len(hashing.hashes) == 1


async def test_guesses_made_in_parallel_are_counted(authenticator: Authenticator, hashing: Hashing) -> None:
    results = await asyncio.gather(*(authenticator.plain("app", f"guess {n}", HERE) for n in range(30)))
    assert results.count(LIMITED) == 20
    assert len(hashing.hashes) == 10
    assert await authenticator.plain("app", "right", HERE) == LIMITED
    assert await authenticator.plain("app", "right", ELSEWHERE) != LIMITED


async def test_too_many_verifications_at_once_are_put_off(
    authenticator: Authenticator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(authentication, "MAX_WAITING", 2)
    results = await asyncio.gather(*(authenticator.plain(f"user {n}", "x", HERE) for n in range(3)))
    assert results == [AUTH_FAILED, AUTH_FAILED, AUTH_BUSY]


async def test_successes_at_once_excuse_no_failure_before_them(authenticator: Authenticator) -> None:
    for n in range(9):
        assert await authenticator.plain("app", f"wrong {n}", HERE) is AUTH_FAILED
    results = await asyncio.gather(*(authenticator.plain("app", "right", HERE) for _ in range(20)))
    assert AUTH_FAILED not in results
    assert await authenticator.plain("app", "wrong 10", HERE) is AUTH_FAILED
    assert await authenticator.plain("app", "wrong 11", HERE) == LIMITED


async def test_a_success_is_no_failure_but_excuses_none(authenticator: Authenticator, accounts: Accounts) -> None:
    right = accounts.credentials["app"]
    for n in range(9):
        assert await authenticator.plain("app", f"wrong {n}", HERE) is AUTH_FAILED
    assert await authenticator.plain("app", "right", HERE) is right
    assert await authenticator.plain("app", "wrong 10", HERE) is AUTH_FAILED
    assert await authenticator.plain("app", "wrong 11", HERE) == LIMITED
    assert (
        await authenticator.plain("app", "right", HERE) is right
    )  # it is remembered: one wrong app locks out no other


async def test_a_credential_revoked_while_it_is_verified(authenticator: Authenticator, accounts: Accounts) -> None:
    verifying = asyncio.create_task(authenticator.plain("app", "right", HERE))
    await asyncio.sleep(0)
    del accounts.credentials["app"]
    assert await verifying is AUTH_FAILED


def test_invented_verifiers_are_stable_and_the_installations_own(accounts: Accounts) -> None:
    first, second, other = (Authenticator(accounts, Limits(), salt_key=key) for key in (b"a", b"a", b"b"))
    assert first.scram("nobody")[1].salt == second.scram("nobody")[1].salt
    assert first.scram("nobody")[1].salt != other.scram("nobody")[1].salt
    assert first.scram("nobody")[1].salt != first.scram("somebody")[1].salt
    for authenticator in (first, second, other):
        authenticator.close()


# --- counters


def test_failures_over_all_names_of_an_address(clock: Clock) -> None:
    failures = Failures(clock)
    for n in range(20):
        assert not failures.exceeded(HERE, f"user {n}", most=2, window=60)
        failures.add(HERE, f"user {n}", window=60)
    assert failures.exceeded(HERE, "user 99", most=2, window=60)
    assert not failures.exceeded(ELSEWHERE, "user 99", most=2, window=60)
    clock.now += 60
    assert not failures.exceeded(HERE, "user 99", most=2, window=60)


def test_a_window_begins_with_its_first_failure(clock: Clock) -> None:
    failures = Failures(clock)
    failures.add(HERE, "app", window=60)
    clock.now += 59
    failures.add(HERE, "app", window=60)
    assert failures.exceeded(HERE, "app", most=2, window=60)
    clock.now += 1
    assert not failures.exceeded(HERE, "app", most=1, window=60)


def test_forgiven_failures_do_not_add_up(clock: Clock) -> None:
    failures = Failures(clock)
    for n in range(100):
        failures.add(HERE, f"user {n}", window=60)
        failures.forgive(HERE, f"user {n}")
    assert not failures._windows
    assert not failures.exceeded(HERE, "user", most=1, window=60)


def test_failures_are_remembered_within_bounds(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mta.smtp_server.limits.MAX_REMEMBERED", 100)
    failures = Failures(clock)
    for n in range(1000):
        failures.add(HERE, "x" * 1000 + str(n), window=60)
    assert len(failures._windows) == 100
    assert failures.exceeded(HERE, "x", most=100, window=60)  # the address fails most often: it is remembered
    assert MAX_REMEMBERED == 100_000


def entered(connections: Connections, address: IPAddress, limits: Limits, *, known: bool = True) -> Slot | str:
    found = connections.enter(address, limits, known=known)
    return found if isinstance(found, Slot) else str(found)


def test_connections_by_network() -> None:
    connections, limits = Connections(), Limits(connections=3, connections_per_address=2)
    mine = [ip_address(text) for text in ("2001:db8:0:1::1", "2001:db8:0:1:ffff::2", "2001:db8:0:1::3")]
    slots = [entered(connections, address, limits) for address in mine]  # the /64 may have two
    assert slots[2] == "421 4.7.0 Too many connections from your address, try again later"
    slots[2] = entered(connections, ip_address("2001:db8:0:2::1"), limits)
    assert entered(connections, HERE, limits) == "421 4.7.0 Too many connections, try again later"
    for slot in slots:
        assert isinstance(slot, Slot)
        slot.leave()
        slot.leave()
    assert (connections.total, connections._of) == (0, {})


def test_strangers_leave_room_for_customers() -> None:
    now = 0.0
    connections, limits = Connections(lambda: now), Limits(connections=8)
    strangers = [entered(connections, ip_address(f"192.0.2.{n}"), limits, known=False) for n in range(7)]
    assert strangers[6] == "421 4.7.0 Too many connections, try again later"
    assert connections.strangers == 6
    customer = strangers[0]
    assert isinstance(customer, Slot)
    customer.recognise()
    customer.recognise()
    assert connections.strangers == 5, "who has logged in makes room for another stranger"
    assert isinstance(entered(connections, ip_address("198.51.100.1"), limits, known=False), Slot)
    assert isinstance(entered(connections, ip_address("192.0.2.0"), limits, known=False), Slot), "known from its login"
    customer.leave()
    now = REMEMBERED_FOR + 1
    assert entered(connections, ip_address("192.0.2.0"), limits, known=False) == str(TOO_MANY_CONNECTIONS)
    assert isinstance(entered(connections, HERE, limits, known=True), Slot)

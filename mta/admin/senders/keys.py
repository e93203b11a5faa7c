"""DKIM keys: make, compare with the DNS, activate, retire.

Invariants: a key signs once its record is in the DNS, unless an operator says otherwise. A domain's last active key is
retired only if that is said. An account sees the keys of its own domains, and changes none.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from config.hosts import dkim_record_name
from mta.admin.context import AdminContext
from mta.admin.errors import InvalidValue, NotFound, Refused
from mta.delivery.mx import Resolver
from mta.delivery.name_servers import DnsError
from mta.dkim.keyring import ListedKey, list_keys
from mta.dkim.keys import Algorithm, KeyUnusable, new_pem, parse_selector
from mta.dkim.records import Difference, compare, record_name
from mta.store.accounts.dkim_keys import KeyState


@dataclass(frozen=True, slots=True)
class CheckedKey:
    """A key and what the DNS has of it. ``problem``: why that could not be seen."""

    listed: ListedKey
    differences: tuple[Difference, ...]
    problem: str | None = None

    @property
    def fails(self) -> bool:
        """Whether signatures that the key makes, or is to make, would not verify, as far as is known."""
        if self.listed.state is KeyState.RETIRED:
            return False
        return self.problem is not None or any(found.kind.breaks for found in self.differences)


async def list_all(context: AdminContext, domain: str | None = None) -> list[ListedKey]:
    """Return all keys, in files and in the store, or those of one domain. Raises Refused, ConfigError,
    StoreUnavailable."""
    try:
        listed = list_keys(context.settings, await context.store.dkim_keys.list())
    except KeyUnusable as error:
        raise Refused(str(error)) from None
    own = await _own_domains(context)
    return [each for each in listed if domain in (None, each.key.domain) and (own is None or each.key.domain in own)]


async def find(context: AdminContext, domain: str, selector: str) -> ListedKey:
    """Return one key; of a file and a row with the same name the file, because that one signs. Raises NotFound,
    Refused, ConfigError, StoreUnavailable."""
    found = [each for each in await list_all(context, domain) if each.key.selector == selector.lower()]
    if not found:
        raise NotFound(f"there is no key {selector} of {domain}")
    return next((each for each in found if each.in_file), found[0])


async def create(
    context: AdminContext, domain: str, algorithms: Sequence[Algorithm], selector: str | None = None
) -> list[ListedKey]:
    """Store new keys, pending, one for each algorithm. Raises InvalidValue, Refused, KeyExists, StoreUnavailable."""
    taken = {each.key.selector for each in await list_all(context, domain)}
    wanted = [_selector(selector, algorithm, several=len(algorithms) > 1) for algorithm in algorithms]
    if selector is None:
        wanted = [next(name for name in _numbered(first) if name not in taken) for first in wanted]
    for name in wanted:
        if name in taken:
            raise Refused(f"there is a key {dkim_record_name(name, domain)} already; choose another selector")
    async with context.audited("key.create", domain) as entry:
        entry.after.update(selectors=wanted)
        for name, algorithm in zip(wanted, algorithms, strict=True):
            await context.store.dkim_keys.add(domain, name, algorithm.value, new_pem(algorithm))
    return [each for each in await list_all(context, domain) if each.key.selector in wanted]


async def examine(listed: ListedKey, resolver: Resolver) -> CheckedKey:
    """Compare one key with the DNS."""
    try:
        published = await resolver.txt(record_name(listed.key))
    except DnsError as error:
        return CheckedKey(listed, (), str(error))
    return CheckedKey(listed, tuple(compare(listed.key, published)))


async def check(context: AdminContext, domain: str, selector: str) -> CheckedKey:
    """Compare a key with the DNS now. Raises NotFound, Refused, StoreUnavailable."""
    listed, resolver = await find(context, domain, selector), Resolver(context.settings)
    try:
        return await examine(listed, resolver)
    finally:
        await resolver.close()


async def activate(context: AdminContext, domain: str, selector: str, *, force: bool = False) -> ListedKey:
    """Let a key sign from now on, if the DNS has its record. Raises NotFound, Refused, StoreUnavailable."""
    listed = await _stored(context, domain, selector)
    if listed.signs:
        return listed
    if not force and (checked := await check(context, domain, selector)).fails:
        differences = "; ".join(found.text for found in checked.differences)
        why = checked.problem or f"{record_name(listed.key)}: {differences}"
        raise Refused(f"{why}. The key stays {listed.state.value}")
    await _set_state(context, listed, KeyState.ACTIVE)
    return await find(context, domain, selector)


async def retire(context: AdminContext, domain: str, selector: str, *, force: bool = False) -> ListedKey:
    """Stop signing with a key. Its record must stay until no queued mail carries its signatures. Raises NotFound,
    Refused, StoreUnavailable."""
    listed = await _stored(context, domain, selector)
    if listed.state is KeyState.RETIRED:
        return listed
    if listed.signs and not force and not await others_that_sign(context, listed):
        raise Refused(f"{selector} is the last active key of {listed.key.domain}; activate another one first")
    await _set_state(context, listed, KeyState.RETIRED)
    return await find(context, domain, selector)


async def others_that_sign(context: AdminContext, listed: ListedKey) -> list[ListedKey]:
    """Return the other keys that sign for the same domain. Raises Refused, StoreUnavailable."""
    found = await list_all(context, listed.key.domain)
    return [each for each in found if each.signs and each.key.selector != listed.key.selector]


async def _set_state(context: AdminContext, listed: ListedKey, state: KeyState) -> None:
    key = listed.key
    action = "key.activate" if state is KeyState.ACTIVE else "key.retire"
    async with context.audited(action, record_name(key)) as entry:
        entry.before.update(state=listed.state.value)
        entry.after.update(state=state.value)
        await context.store.dkim_keys.set_state(key.domain, key.selector, state)


async def _stored(context: AdminContext, domain: str, selector: str) -> ListedKey:
    """Return one key whose state can be changed. Raises NotFound, Refused."""
    listed = await find(context, domain, selector)
    if listed.in_file:
        raise Refused(
            f"{listed.key.selector} of {listed.key.domain} is in the file {listed.key.source}: it signs as long as "
            "[[signing.keys]] in the configuration names it"
        )
    return listed


async def _own_domains(context: AdminContext) -> frozenset[str] | None:
    """Return the domains that the actor is confined to, None for all."""
    if context.actor.account is None:
        return None
    account = (await context.account(context.actor.account)).account
    return account.domains | account.unverified


def _selector(given: str | None, algorithm: Algorithm, *, several: bool) -> str:
    """Return the selector as given, with the algorithm if there are several; else made from algorithm and date."""
    if given is None:
        return f"{algorithm.key_type}-{datetime.now(UTC):%Y%m%d}"
    try:
        return parse_selector(f"{given}-{algorithm.key_type}" if several else given)
    except KeyUnusable as error:
        raise InvalidValue("selector", str(error)) from None


def _numbered(name: str) -> Iterator[str]:
    yield name
    for number in range(2, 1000):
        yield f"{name}-{number}"

"""What ``mta dkim`` does with keys, step by step; ``dkim_print`` shows the results.

It must never change a key's state without having looked: an activation asks the DNS first, a retirement whether
anything is left that signs.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from config.schema import Settings
from config.toml import ConfigError
from mta.cli.output import fail
from mta.delivery.mx import DnsError, Resolver
from mta.dkim.keyring import ListedKey, list_keys
from mta.dkim.keys import Algorithm, KeyUnusable, new_pem, parse_selector
from mta.dkim.records import Difference, compare, record_name
from mta.mail.address import AddressError, parse_domain
from mta.store.accounts.dkim_keys import KeyExists, Keys, KeyState

Txt = Callable[[str], Awaitable[list[str]]]


@dataclass(frozen=True, slots=True)
class Checked:
    """``trouble``: why the DNS could not be asked; None if it could."""

    listed: ListedKey
    differences: tuple[Difference, ...]
    trouble: str | None = None

    @property
    def fails(self) -> bool:
        """Whether signatures that the key makes, or is to make, would not verify, as far as is known."""
        if self.listed.state is KeyState.RETIRED:
            return False
        return self.trouble is not None or any(found.kind.breaks for found in self.differences)


async def find(settings: Settings, keys: Keys, domain: str | None = None) -> list[ListedKey]:
    """All keys, or those of one domain."""
    wanted = _domain(domain) if domain is not None else None
    try:
        listed = list_keys(settings, await keys.list())
    except ConfigError as error:
        fail("\n".join(error.lines), status=2)
    except KeyUnusable as error:
        fail(str(error))
    return [each for each in listed if wanted in (None, each.key.domain)]


async def find_one(settings: Settings, keys: Keys, domain: str, selector: str) -> ListedKey:
    """The key that is meant; of a file and a row with the same name the file, because that one signs."""
    found = [each for each in await find(settings, keys, domain) if each.key.selector == selector.lower()]
    if not found:
        fail(f"there is no key {selector} of {domain}; `mta dkim list {domain}` shows those there are")
    return next((each for each in found if each.in_file), found[0])


async def make(
    settings: Settings, keys: Keys, domain: str, selector: str | None, algorithms: list[Algorithm]
) -> list[ListedKey]:
    """New keys in the store, pending, one for each algorithm."""
    domain = _domain(domain)
    taken = {each.key.selector for each in await find(settings, keys, domain)}
    wanted = [_selector(selector, algorithm, several=len(algorithms) > 1) for algorithm in algorithms]
    if selector is None:
        wanted = [next(name for name in _numbered(first) if name not in taken) for first in wanted]
    for name, algorithm in zip(wanted, algorithms, strict=True):
        if name in taken:
            fail(f"there is a key {name}._domainkey.{domain} already; take another selector")
        try:
            await keys.add(domain, name, algorithm.value, new_pem(algorithm))
        except KeyExists as error:
            fail(str(error))
    return [each for each in await find(settings, keys, domain) if each.key.selector in wanted]


def _selector(given: str | None, algorithm: Algorithm, *, several: bool) -> str:
    """The selector as given, with the algorithm if there are several; else made from algorithm and date."""
    if given is None:
        return f"{algorithm.key_type}-{datetime.now(UTC):%Y%m%d}"
    try:
        return parse_selector(f"{given}-{algorithm.key_type}" if several else given)
    except KeyUnusable as error:
        fail(str(error), status=2)


def _numbered(name: str) -> Iterator[str]:
    yield name
    for number in range(2, 1000):
        yield f"{name}-{number}"


async def check(settings: Settings, keys: Keys, domain: str) -> list[Checked]:
    """Every key of ``domain`` against the DNS."""
    listed = await find(settings, keys, domain)
    if not listed:
        fail(f"there is no key of {domain}; `mta dkim new {domain}` makes one")
    resolver = Resolver(settings)
    return [await examine(each, resolver.txt) for each in listed]


async def examine(listed: ListedKey, txt: Txt) -> Checked:
    """One key against the DNS, as ``txt`` shows it."""
    try:
        published = await txt(record_name(listed.key))
    except DnsError as error:
        return Checked(listed, (), str(error))
    return Checked(listed, tuple(compare(listed.key, published)))


async def activate(settings: Settings, keys: Keys, domain: str, selector: str, *, force: bool) -> str:
    """Let a pending or retired key sign; says what was done."""
    listed = await find_one(settings, keys, domain, selector)
    _must_be_stored(listed)
    key = listed.key
    if listed.signs:
        return f"{key.selector} of {key.domain} is active already."
    if not force:
        checked = await examine(listed, Resolver(settings).txt)
        if checked.fails:
            differences = "; ".join(found.text for found in checked.differences)
            why = checked.trouble or f"{record_name(key)}: {differences}"
            fail(f"{why}. The key stays {listed.state.value}; --force activates it all the same.")
    await keys.set_state(key.domain, key.selector, KeyState.ACTIVE)
    others = [each.key.selector for each in await find(settings, keys, domain) if each.signs]
    others.remove(key.selector)
    beside = f" beside {', '.join(others)}" if others else ""
    return f"{key.selector} signs for {key.domain} from now on{beside}."


async def retire(settings: Settings, keys: Keys, domain: str, selector: str, *, force: bool) -> str:
    """Let a key sign no more; says what was done and what is left to do."""
    listed = await find_one(settings, keys, domain, selector)
    _must_be_stored(listed)
    key = listed.key
    if listed.state is KeyState.RETIRED:
        return f"{key.selector} of {key.domain} is retired already."
    others = [each for each in await find(settings, keys, domain) if each.signs and each.key.selector != key.selector]
    if listed.signs and not others and not force:
        fail(f"{key.selector} is the last active key of {key.domain}; activate another one first, or use --force")
    await keys.set_state(key.domain, key.selector, KeyState.RETIRED)
    days = settings.queue.expire_after / 86400
    return (
        f"{key.selector} signs for {key.domain} no more. Queued mail may still carry its signatures: "
        f"leave {record_name(key)} in the DNS for {days:g} days, then remove it."
    )


def _must_be_stored(listed: ListedKey) -> None:
    if listed.in_file:
        fail(
            f"{listed.key.selector} of {listed.key.domain} is in the file {listed.key.source}: it signs as long as "
            "[[signing.keys]] in the configuration names it"
        )


def _domain(text: str) -> str:
    try:
        return parse_domain(text)
    except AddressError as error:
        fail(f"{text!r}: {error}", status=2)

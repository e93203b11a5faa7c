"""``mta account domain``: the domains that an account may send for, and the proof that they are its own.

Invariants: no account uses a domain without that proof, unless an operator takes responsibility for it.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mta.cli.context import load_settings, with_store
from mta.cli.options import (
    AccountArgument,
    ConfigOption,
    DryRunOption,
    JsonOption,
    ReasonOption,
    YesOption,
    confirm,
    group,
    operator,
    parse_domain,
)
from mta.cli.output import Column, fail, print_json, print_table
from policy.accounts.sender_domain import is_fit, owner_name, owner_text

if TYPE_CHECKING:
    from config.schema import Settings
    from mta.delivery.mx import Resolver
    from mta.dkim import KeyRing
    from mta.store.accounts.account_cache import DomainDetails
    from mta.store.store import Store
    from policy.accounts.sender_domain import CheckResult

DomainArgument = Annotated[str, typer.Argument(metavar="DOMAIN", help="Sender domain; subdomains are not included.")]
SkipOption = Annotated[
    bool, typer.Option("--skip-verification", help="Accept the domain without checks, on your authority.")
]


def register(accounts: typer.Typer) -> None:
    commands = group(
        "Domains that an account may send for: envelope sender and From must be in one of them.",
        ("add", add),
        ("remove", remove),
        ("verify", verify),
        ("list", list_),
    )
    accounts.add_typer(commands, name="domain")


def add(
    name: AccountArgument,
    domain: DomainArgument,
    skip: SkipOption = False,
    reason: ReasonOption = "",
    config: ConfigOption = None,
) -> None:
    """Add a domain to an account, and print the DNS record that proves ownership."""
    settings, wanted, why = load_settings(config), parse_domain(domain), _authority(skip, reason)

    async def work(store: Store) -> list[str]:
        account_id = (await store.accounts.find(name)).account.id
        await store.domains.add(account_id, wanted, by=operator())
        if why:
            await store.domains.vouch(account_id, wanted, by=operator(), reason=why)
            said = [f"Domain {wanted} added; {name} may send for it."]
        else:
            said = [f"Domain {wanted} added.", *proof_wanted(name, await _one(store, name, wanted))]
        return [*said, *map(no_key, await without_key(settings, store, [wanted]))]

    print("\n".join(with_store(settings, work)))


def remove(
    name: AccountArgument,
    domain: DomainArgument,
    reason: ReasonOption = "",
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    config: ConfigOption = None,
) -> None:
    """Remove a domain from an account. Queued mail is still delivered."""
    settings = load_settings(config)
    if dry_run:
        with_store(settings, lambda store: _one(store, name, domain))
        print(f"Domain {domain} of {name} would be removed.")
        return
    confirm(f"Remove {domain} from {name}? Its verification is lost.", yes=yes)

    async def work(store: Store) -> None:
        account_id = (await store.accounts.find(name)).account.id
        await store.domains.remove(account_id, domain, by=operator(), reason=reason)

    with_store(settings, work)
    print(f"Domain {domain} removed from {name}.")


def verify(
    name: AccountArgument,
    domain: DomainArgument,
    skip: SkipOption = False,
    reason: ReasonOption = "",
    config: ConfigOption = None,
) -> None:
    """Check a domain's proof, SPF, DKIM, DMARC and MX in the DNS. Exit status 1 if it cannot be used yet."""
    from mta.delivery.mx import Resolver

    settings, wanted, why = load_settings(config), parse_domain(domain), _authority(skip, reason)

    async def work(store: Store) -> tuple[tuple[CheckResult, ...], bool]:
        account_id = (await store.accounts.find(name)).account.id
        known = await _one(store, name, wanted)
        found = await look_at(settings, store, Resolver(settings), await open_ring(settings, store), account_id, known)
        if why:
            await store.domains.vouch(account_id, wanted, by=operator(), reason=why)
        return found, (await _one(store, name, wanted)).verified_at is not None

    found, verified = with_store(settings, work)
    for each in found:
        print_check(each)
    if not verified:
        fail(f"{name} may not send for {wanted} yet")
    print(f"{name} may send for {wanted}{'.' if is_fit(found, proved=True) else '; fix what is bad.'}")


def list_(name: AccountArgument, as_json: JsonOption = False, config: ConfigOption = None) -> None:
    """List an account's domains, with what the last DNS check found."""
    details = with_store(load_settings(config), lambda store: store.accounts.find(name))
    if as_json:
        print_json([_fields(each) for each in details.domains])
        return
    print_table(
        (Column("domain", whole=True), "verified", "checked", "bad or unknown"),
        [(each.domain, day(each.verified_at), day(each.checked_at), _bad(each)) for each in details.domains],
        empty=f"No domains; add one with `mta account domain add {name} DOMAIN`.",
    )


async def open_ring(settings: Settings, store: Store) -> KeyRing:
    """Return the keys that sign. Raises ConfigError."""
    from mta.admin.senders import domain_check

    return await domain_check.read_key_ring(settings, store)


async def look_at(
    settings: Settings, store: Store, resolver: Resolver, ring: KeyRing, account_id: int, domain: DomainDetails
) -> tuple[CheckResult, ...]:
    """Check one domain in the DNS, and record what was found."""
    from mta.admin.senders import domain_check

    found = await domain_check.look_at_domain(
        resolver, ring, domain.domain, domain.token, return_path=settings.return_path.domain
    )
    await store.domains.record(account_id, domain.domain, found, by="dns")
    return found


async def without_key(settings: Settings, store: Store, domains: Iterable[str]) -> list[str]:
    """Return those of ``domains`` that no DKIM key signs for, none if the keys cannot be read."""
    from config.toml import ConfigError

    try:
        ring = await open_ring(settings, store)
    except ConfigError:
        return []  # `mta check` and `mta dkim` report it
    return [domain for domain in domains if not ring.of(domain.lower())]


def no_key(domain: str) -> str:
    return f"No DKIM key signs for {domain} yet; create one with `mta dkim new {domain}`."


def proof_wanted(name: str, domain: DomainDetails) -> list[str]:
    """Return what is left to do for a new domain, line by line."""
    return [
        f"{name} may send for {domain.domain} once the DNS has this record, and SPF, DKIM and DMARC:",
        f"  {_record(domain)}",
        f"The DNS is checked every ten minutes; `mta account domain verify {name} {domain.domain}` checks now.",
    ]


def print_check(result: CheckResult) -> None:
    """Print one check's result; a record that is to be copied stays on its line."""
    head = f"  {result.subject.value:6} {result.mark.value:8} "
    if " IN TXT " in result.text:
        said, _, record = result.text.partition(": _")
        print(f"{head}{said}:\n{' ' * len(head)}_{record}")
        return
    print(
        textwrap.fill(result.text, 100, initial_indent=head, subsequent_indent=" " * len(head), break_on_hyphens=False)
    )


def day(at: datetime | None) -> str:
    return f"{at:%Y-%m-%d}" if at else "no"


def _authority(skip: bool, reason: str) -> str:
    """Return why a domain is accepted without checks, "" if it is to be checked."""
    if skip and not reason.strip():
        fail("--skip-verification needs a --reason", status=2)
    return reason.strip() if skip else ""


async def _one(store: Store, name: str, domain: str) -> DomainDetails:
    details = await store.accounts.find(name)
    found = next((each for each in details.domains if each.domain == domain), None)
    if found is None:
        fail(f"{domain} is not a domain of {name}; add it with `mta account domain add {name} {domain}`")
    return found


def _bad(domain: DomainDetails) -> list[str]:
    return [f"{subject}: {text}" for subject, text in domain.report.items() if not text.startswith(("good", "weak"))]


def _record(domain: DomainDetails) -> str:
    return f'{owner_name(domain.domain)}. IN TXT "{owner_text(domain.token)}"'


def _fields(domain: DomainDetails) -> dict[str, Any]:
    return {
        "domain": domain.domain,
        "verified_at": domain.verified_at,
        "checked_at": domain.checked_at,
        "receives": domain.receives,
        "record": _record(domain),
        "report": domain.report,
    }

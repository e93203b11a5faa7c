"""``mta account domain``: the domains that an account may send for, and the proof that they are its own.

Invariants: no account uses a domain without that proof, unless an operator takes responsibility for it.
"""

from __future__ import annotations

import textwrap
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mta.cli.context import load_settings, with_admin, with_store
from mta.cli.options import (
    AccountArgument,
    ConfigOption,
    DryRunOption,
    JsonOption,
    ReasonOption,
    YesOption,
    confirm,
    group,
    parse_domain,
)
from mta.cli.output import Column, fail, print_json, print_table
from policy.accounts.sender_domain import is_fit, owner_name, owner_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mta.admin.context import AdminContext
    from mta.store.accounts.account_cache import DomainDetails
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
    from mta.admin.senders import domains

    wanted, why = parse_domain(domain), _authority(skip, reason)

    async def work(context: AdminContext) -> list[str]:
        added = await domains.add(context, name, wanted, vouch=why)
        if why:
            said = [f"Domain {wanted} added; {name} may send for it."]
        else:
            said = [f"Domain {wanted} added.", *proof_wanted(name, added)]
        return [*said, *map(no_key, await domains.without_key(context, [wanted]))]

    print("\n".join(with_admin(load_settings(config), work)))


def remove(
    name: AccountArgument,
    domain: DomainArgument,
    reason: ReasonOption = "",
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    config: ConfigOption = None,
) -> None:
    """Remove a domain from an account. Queued mail is still delivered."""
    from mta.admin.senders import domains

    settings = load_settings(config)
    if dry_run:
        with_admin(settings, lambda context: domains.find(context, name, domain))
        print(f"Domain {domain} of {name} would be removed.")
        return
    confirm(f"Remove {domain} from {name}? Its verification is lost.", yes=yes)
    with_admin(settings, lambda context: domains.remove(context, name, domain, reason=reason))
    print(f"Domain {domain} removed from {name}.")


def verify(
    name: AccountArgument,
    domain: DomainArgument,
    skip: SkipOption = False,
    reason: ReasonOption = "",
    config: ConfigOption = None,
) -> None:
    """Check a domain's proof, SPF, DKIM, DMARC and MX in the DNS. Exit status 1 if it cannot be used yet."""
    from mta.admin.senders import domains

    wanted, why = parse_domain(domain), _authority(skip, reason)

    async def work(context: AdminContext) -> tuple[DomainDetails, Sequence[CheckResult]]:
        return await domains.verify(context, name, wanted, vouch=why)

    known, found = with_admin(load_settings(config), work)
    for each in found:
        print_check(each)
    if known.verified_at is None:
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

"""Accounts: review of new ones (papers, origin of lists), status, what an account has and lacks, its history."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from mta.admin.errors import InvalidValue
from mta.admin.senders import accounts
from mta.admin.senders.accounts import NewAccount
from mta.mail.address import AddressError, parse_domain
from mta.store.accounts.reviews import Setting
from mta.web.pages import tables
from mta.web.pages.frame import Answer, PageRequest, PageRoutes, PageView, Redirect
from mta.web.pages.tables import PageTable
from policy.accounts.account import Account, AccountStatus, Identity, StatusChange
from policy.accounts.review import Lack, Matter

routes = PageRoutes()

READ, WRITE = "accounts:read", "accounts:write"
TONES = {
    AccountStatus.PENDING: "info", AccountStatus.REVIEW: "warn", AccountStatus.ACTIVE: "ok",
    AccountStatus.SUSPENDED: "bad", AccountStatus.TERMINATED: "",
}  # fmt: skip
CHANGES = {
    AccountStatus.PENDING: (StatusChange.REVIEW, StatusChange.TERMINATE),
    AccountStatus.REVIEW: (StatusChange.APPROVE, StatusChange.REQUEST_CHANGES, StatusChange.TERMINATE),
    AccountStatus.ACTIVE: (StatusChange.SUSPEND, StatusChange.TERMINATE),
    AccountStatus.SUSPENDED: (StatusChange.RESUME, StatusChange.TERMINATE),
    AccountStatus.TERMINATED: (),
}
WORDS = {
    StatusChange.REVIEW: ("Submit for review", ""),
    StatusChange.APPROVE: ("Approve", "The account may send."),
    StatusChange.REQUEST_CHANGES: ("Ask for changes", "The account gets the reason, and stays without sending."),
    StatusChange.SUSPEND: ("Suspend", "Nothing more is accepted; what is queued is held."),
    StatusChange.RESUME: ("Resume", "What is held for the suspension is sent."),
    StatusChange.TERMINATE: ("Terminate", "For good: what is queued fails, logins end."),
}
IDENTITY = (
    ("names", "Names, one a line"), ("street", "Street"), ("postcode", "Postcode"), ("city", "City"),
    ("country", "Country (two letters)"), ("phone", "Phone"), ("email", "E-mail"), ("register", "Register"),
    ("number", "Number there"), ("vat", "VAT number"), ("representative", "Represented by"),
)  # fmt: skip
HISTORY = 50
_HELP = {Matter.DOMAIN: "/domains", Matter.CREDENTIAL: "/credentials", Matter.LIST: "/consents",
         Matter.IDENTITY: "/accounts/{name}/papers"}  # fmt: skip


@routes.get("/accounts", READ, operator=True)
async def list_(page: PageRequest) -> Answer:
    """List accounts; those that wait for a review first."""
    return await _list(page)


async def _list(page: PageRequest, made: Mapping[str, str] | None = None) -> Answer:
    found = await accounts.list_all(page.context)
    order = [AccountStatus.REVIEW, AccountStatus.SUSPENDED, AccountStatus.PENDING]
    found = sorted(found, key=lambda each: (each.account.status not in order, each.account.name))
    titles = tables.columns(
        name="Account",
        status="Status",
        profile="Profile",
        domains=("Domains", "name"),
        lists="Lists",
        since=("Since", "time"),
    )
    rows = []
    for each in found:
        open_lists = sum(1 for source in each.sources if source.approved_at is None)
        rows.append(
            [
                tables.link(each.account.name, f"/accounts/{each.account.name}", each.account.registered_name),
                tables.badge(each.account.status.value, TONES[each.account.status]),
                tables.text(each.account.profile),
                tables.text(", ".join(domain.domain for domain in each.domains)),
                tables.text(str(len(each.sources)), f"{open_lists} to approve" if open_lists else ""),
                tables.at(each.created_at),
            ]
        )
    table = PageTable.sorted(page, "Accounts", titles, rows, empty="No account yet.")
    if tables.wants_csv(page):
        return table.to_csv("accounts")
    profiles = [(each, each) for each in page.context.profiles().names]
    default = page.context.settings.policy.default_profile
    values = {"table": table, "profiles": profiles, "default": default, "made": made}
    return PageView("accounts.html", "Accounts", values)


@routes.post("/accounts", WRITE, again=list_, operator=True)
async def add(page: PageRequest) -> Answer:
    """Add an account, and show the secret of its first credential, once."""
    domains = page.required("domains", "the domain").replace(",", " ").split()
    new = NewAccount(page.required("name", "the name"), _domains(domains), profile=page.text("profile") or None)
    _, login = await accounts.add(page.context, new)
    return await _list(page, {"account": new.name, "username": login.username, "secret": login.secret})


def _domains(texts: Sequence[str]) -> list[str]:
    try:
        return [parse_domain(each) for each in texts]
    except AddressError as error:
        raise InvalidValue("domains", str(error)) from None


@routes.get("/accounts/{name}", READ, operator=True)
async def show(page: PageRequest) -> PageView:
    """Show an account: what it lacks, who stands behind it, its lists and domains, its history."""
    name = page.path_text("name")
    details = await page.context.account(name)
    account = details.account
    history = await accounts.history(page.context, name, HISTORY)
    values: dict[str, Any] = {
        "details": details,
        "account": account,
        "tone": TONES[account.status],
        "where": _where,
        "lacks": await accounts.missing(page.context, name) if account.status is not AccountStatus.TERMINATED else (),
        "papers": [(each.language, _papers(each)) for each in account.identities],
        "changes": _changes(page, account),
        "history": [(each, _said(each.data)) for each in history],
        "profiles": [(each, each) for each in page.context.profiles().names],
        "users": await page.context.store.web_users.list(account.id),
        "terms": page.context.settings.policy.terms.version,
    }
    return PageView("account.html", account.name, values, [("Accounts", "/accounts")])


def _papers(identity: Identity) -> list[tuple[str, str]]:
    found = [("Names", " / ".join(identity.names))]
    return found + [(label, getattr(identity, name)) for name, label in IDENTITY[1:]]


def _where(lack: Lack, name: str) -> str:
    """Return the page that helps with what an account lacks, "" for none."""
    return _HELP.get(lack.matter, "").format(name=quote(name))


def _changes(page: PageRequest, account: Account) -> Sequence[tuple[StatusChange, str, str]]:
    if not page.may(WRITE):
        return ()
    return [(each, *WORDS[each]) for each in CHANGES[account.status]]


def _said(data: Any) -> str:
    """Return an entry of the history in words."""
    told = {key: value for key, value in data.items() if value not in (None, "", [], 0)}
    if "from" in told and "to" in told:
        told = {"": f"from {told.pop('from')} to {told.pop('to')}", **told}
        told.pop("move", None)
    parts = {key: ", ".join(map(str, value)) if isinstance(value, list) else value for key, value in told.items()}
    return "; ".join(f"{key} {value}".strip() for key, value in parts.items())


@routes.post("/accounts/{name}/status", WRITE, again=show, operator=True)
async def change_status(page: PageRequest) -> Answer:
    """Change the status of an account."""
    name, change = page.path_text("name"), page.choice("change", StatusChange)
    if change is StatusChange.TERMINATE and page.text("confirm") != name:
        raise InvalidValue("confirm", f"type {name} to show that this account is meant")
    if change is StatusChange.REVIEW:
        done = await accounts.submit_for_review(page.context, name)
    else:
        done = await accounts.change_status(page.context, name, change, reason=page.text("reason"))
    words = [f"{name} is {done.status.value} now."]
    if done.recipients:
        words.append(f"{done.recipients} queued recipients were changed.")
    if done.still_held:
        words.append(f"{done.still_held} have other holds.")
    return Redirect(f"/accounts/{name}", " ".join(words))


@routes.post("/accounts/{name}/lists/approve", WRITE, again=show, operator=True)
async def approve_list(page: PageRequest) -> Answer:
    """Approve the origin of a list."""
    name, list_name = page.path_text("name"), page.required("list", "the list")
    await accounts.approve_list(page.context, name, list_name)
    return Redirect(f"/accounts/{name}", f"The origin of list {list_name} is approved.")


@routes.post("/accounts/{name}/settings", WRITE, again=show, operator=True)
async def change_settings(page: PageRequest) -> Answer:
    """Change profile, contact and quotas."""
    name = page.path_text("name")
    changed = {
        Setting.PROFILE: page.required("profile", "the profile"),
        Setting.CONTACT: page.text("contact"),
        Setting.QUOTA_DAY: page.number("quota_day"),
        Setting.QUOTA_MONTH: page.number("quota_month"),
    }
    await accounts.change_settings(page.context, name, changed)
    return Redirect(f"/accounts/{name}", "Settings changed.")


# the account's own page


@routes.get("/account", READ)
async def own(page: PageRequest) -> Answer:
    """Show an account to its own users: what it lacks, who stands behind it, and the terms to accept."""
    name = page.context.actor.account
    if name is None:
        return Redirect("/accounts")
    details = await page.context.account(name)
    account = details.account
    values: dict[str, Any] = {
        "details": details,
        "account": account,
        "tone": TONES[account.status],
        "where": _where,
        "lacks": await accounts.missing(page.context, name) if account.status is not AccountStatus.TERMINATED else (),
        "papers": [(each.language, _papers(each)) for each in account.identities],
        "terms": page.context.settings.policy.terms.version,
        "terms_url": page.context.settings.policy.terms.url,
        "accepted": account.terms is not None and account.terms.version == page.context.settings.policy.terms.version,
    }
    return PageView("own_account.html", account.name, values)


@routes.post("/account/terms", "terms:write", again=own)
async def accept_terms(page: PageRequest) -> Answer:
    """Accept the terms in force, as a person with a name."""
    name = page.context.actor.account
    if name is None:
        raise InvalidValue("person", "the terms are accepted by a user of the account")
    if not page.ticked("tick"):
        raise InvalidValue("tick", "tick that you accept the terms")
    version, person = page.text("version"), page.required("person", "your name")
    await accounts.accept_terms(page.context, name, version, person=person)
    return Redirect("/account", f"Version {version} of the terms is accepted.")

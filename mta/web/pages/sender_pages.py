"""What an account sends with: its domains with the records to publish, DKIM keys, credentials, webhooks, terms.

Invariants: a secret is shown once, when it is made.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from mta.admin import webhooks
from mta.admin.context import AdminContext
from mta.admin.errors import InvalidValue, NotFound
from mta.admin.senders import accounts, credentials, domains, keys
from mta.delivery.egress.sources import configured
from mta.dkim.records import record_name, record_text
from mta.mail.address import AddressError, parse_domain
from mta.store.accounts.account_cache import AccountDetails, DomainDetails
from mta.web.pages import tables
from mta.web.pages.frame import Answer, PageRequest, PageRoutes, PageView, Redirect
from mta.web.pages.tables import PageTable

routes = PageRoutes()

OVERLAPS = (("0h", "at once"), ("1h", "1 hour"), ("24h", "1 day"), ("168h", "1 week"))
_OVERLAPS = {"0h": 0, "1h": 1, "24h": 24, "168h": 168}
EVENTS = 50


# domains and keys


@routes.get("/domains", "domains:read")
async def domain_list(page: PageRequest) -> Answer:
    """List sender domains with the state of each, and the DKIM keys."""
    known = await accounts.list_all(page.context)
    more = {"account": "Account"} if page.is_operator else {}
    titles = tables.columns(
        domain="Domain", state="State", found=("Last look", "wide"), at=("Looked up", "time"), **more
    )
    rows = []
    for details in known:
        for each in details.domains:
            cells = [
                tables.link(each.domain, f"/domains/{each.domain}"),
                tables.badge("verified", "ok") if each.verified_at else tables.badge("not verified", "warn"),
                tables.text(", ".join(f"{key}: {value}" for key, value in each.report.items())),
                tables.at(each.checked_at),
            ]
            if page.is_operator:
                cells.append(tables.link(details.account.name, f"/accounts/{details.account.name}"))
            rows.append(cells)
    table = PageTable.sorted(page, "Domains", titles, rows, empty="No domain yet.")
    if tables.wants_csv(page):
        return table.to_csv("domains")
    values = {"table": table, "keys": await _keys(page), "names": [each.account.name for each in known]}
    return PageView("domains.html", "Domains and keys", values)


async def _keys(page: PageRequest, domain: str | None = None) -> PageTable:
    titles = tables.columns(
        domain="Domain", selector="Selector", kind="Algorithm", state="State", since=("Since", "time")
    )
    tones = {"active": "ok", "pending": "warn", "retired": ""}
    rows = [
        [
            tables.text(each.key.domain),
            tables.text(each.key.selector, "in a file" if each.in_file else ""),
            tables.text(each.key.algorithm.value),
            tables.badge(each.state.value, tones[each.state.value]),
            tables.at(each.since),
        ]
        for each in await keys.list_all(page.context, domain)
    ]
    return PageTable("DKIM keys", titles, rows, "No key.")


async def _owner(page: PageRequest, domain: str) -> tuple[AccountDetails, DomainDetails]:
    """Return a domain and its account. Raises NotFound, also if it is not the user's."""
    for details in await accounts.list_all(page.context):
        for each in details.domains:
            if each.domain == domain.lower():
                return details, each
    raise NotFound(f"there is no domain {domain}")


@routes.get("/domains/{domain}", "domains:read")
async def domain_page(page: PageRequest) -> PageView:
    """Show a domain: the records to publish, to copy, and what the last look found."""
    owner, found = await _owner(page, page.path_text("domain"))
    name, text = domains.proof_record(found)
    proof = {"what": "Proof that the domain is yours", "name": name, "kind": "TXT", "text": text}
    records: list[dict[str, str]] = [proof]
    for each in await keys.list_all(page.context, found.domain):
        if each.state.value != "retired":
            what = f"DKIM key {each.key.selector} ({each.state.value})"
            text = record_text(each.key)
            records.append({"what": what, "name": record_name(each.key), "kind": "TXT", "text": text})
    if ours := [each.address for each in configured(page.context.settings.egress) if each.address]:
        spf = " ".join(f"ip6:{each}" if ":" in each else f"ip4:{each}" for each in ours)
        record = {"name": found.domain, "kind": "TXT", "text": f"v=spf1 {spf} -all"}
        records.append({"what": "SPF; if there is one, add what is new to it", **record})
    name, dmarc = f"_dmarc.{found.domain}", f"v=DMARC1; p=none; rua=mailto:dmarc@{found.domain}"
    records.append({"what": "DMARC, if there is none yet", "name": name, "kind": "TXT", "text": dmarc})
    values = {"owner": owner.account, "domain": found, "records": records, "keys": await _keys(page, found.domain)}
    return PageView("domain.html", found.domain, values, [("Domains and keys", "/domains")])


@routes.post("/domains", "domains:write", again=domain_list)
async def add_domain(page: PageRequest) -> Answer:
    """Add a domain."""
    try:
        domain = parse_domain(page.required("domain", "the domain"))
    except AddressError as error:
        raise InvalidValue("domain", str(error)) from None
    account = page.text("account") if page.is_operator else page.context.actor.account or ""
    await domains.add(page.context, account, domain)
    return Redirect(f"/domains/{domain}", f"{domain} added: publish its records, then have it looked up.")


@routes.post("/domains/{domain}/verify", "domains:write", again=domain_page)
async def verify(page: PageRequest) -> Answer:
    """Look a domain up now."""
    owner, found = await _owner(page, page.path_text("domain"))
    details, results = await domains.verify(page.context, owner.account.name, found.domain)
    words = "; ".join(f"{each.subject.value}: {each.text}" for each in results)
    return Redirect(f"/domains/{found.domain}", f"Looked up. {words}", "ok" if details.verified_at else "warn")


@routes.post("/domains/{domain}/remove", "domains:write", again=domain_page)
async def remove_domain(page: PageRequest) -> Answer:
    """Remove a domain."""
    owner, found = await _owner(page, page.path_text("domain"))
    reason = page.required("reason", "the reason")
    await domains.remove(page.context, owner.account.name, found.domain, reason=reason)
    return Redirect("/domains", f"{found.domain} removed. What is queued is still delivered.")


# credentials


@routes.get("/credentials", "credentials:read")
async def credential_list(page: PageRequest) -> Answer:
    """List credentials."""
    return await _credentials(page.context, page)


async def _credentials(context: AdminContext, page: PageRequest, made: dict[str, str] | None = None) -> PageView:
    known = await accounts.list_all(context)
    more: dict[str, Any] = {"account": "Account"} if page.is_operator else {}
    titles = tables.columns(
        name=("User name", "mono"), may="May send", state="State", at=("Made", "time"), **more, act=("", "act")
    )
    rows = []
    for details in known:
        for each in details.credentials:
            streams = ", ".join(sorted(one.value for one in each.grant.streams or ())) or "as its profile"
            valid = credentials.is_valid(each)
            cells = [
                tables.text(each.username),
                tables.text(streams, ", ".join(sorted(each.grant.domains)) if each.grant.domains else ""),
                tables.badge("valid", "ok") if valid else tables.badge("revoked"),
                tables.at(each.created_at),
            ]
            if page.is_operator:
                cells.append(tables.link(details.account.name, f"/accounts/{details.account.name}"))
            act = tables.act("Revoke", "/credentials/revoke", reason=True, danger=True, username=each.username)
            cells.append(act if valid and page.may("credentials:write") else tables.Cell())
            rows.append(cells)
    valid_names = [
        (each.username, each.username) for one in known for each in one.credentials if credentials.is_valid(each)
    ]
    values = {
        "table": PageTable("Credentials", titles, rows, "No credential."),
        "made": made,
        "overlaps": OVERLAPS,
        "valid": valid_names,
    }
    return PageView("credentials.html", "Credentials", values)


@routes.post("/credentials", "credentials:write", again=credential_list)
async def add_credential(page: PageRequest) -> Answer:
    """Make a credential, and show its secret, once."""
    account = page.text("account") if page.is_operator else page.context.actor.account or ""
    login = await credentials.add(page.context, account, page.text("username") or None)
    return await _credentials(page.context, page, {"username": login.username, "secret": login.secret})


@routes.post("/credentials/rotate", "credentials:write", again=credential_list)
async def rotate(page: PageRequest) -> Answer:
    """Replace a credential, and show the new secret, once."""
    hours = _OVERLAPS.get(page.text("overlap"))
    if hours is None:
        raise InvalidValue("overlap", "choose how long the old one works on")
    username = page.required("username", "the credential")
    login, _ = await credentials.rotate(page.context, username, overlap=timedelta(hours=hours))
    return await _credentials(page.context, page, {"username": login.username, "secret": login.secret})


@routes.post("/credentials/revoke", "credentials:write", again=credential_list)
async def revoke(page: PageRequest) -> Answer:
    """Revoke a credential."""
    username = page.text("username")
    await credentials.revoke(page.context, username, reason=page.required("reason", "the reason"))
    return Redirect("/credentials", f"{username} is revoked, live sessions included.")


# webhooks and events


@routes.get("/webhooks", "webhooks:read")
async def webhook_list(page: PageRequest) -> Answer:
    """List webhooks, and the newest events of the account."""
    return await _webhooks(page)


async def _webhooks(page: PageRequest, secret: str = "") -> PageView:
    found = await webhooks.list_all(page.context)
    more: dict[str, Any] = {"account": "Account"} if page.is_operator else {}
    titles = tables.columns(
        url=("Address", "wide"), state="State", waiting=("Waiting", "number"), last=("Last success", "time"), **more,
        act=("", "act"),
    )  # fmt: skip
    rows = []
    for each in found:
        failing = each.failures > 0
        state = ("paused", "warn") if each.paused_at else ("failing", "bad") if failing else ("works", "ok")
        cells = [
            tables.text(each.url, each.last_error or ", ".join(each.kinds)),
            tables.badge(*state),
            tables.number(each.waiting),
            tables.at(each.last_success_at) if each.last_success_at else tables.text("never"),
        ]
        if page.is_operator:
            cells.append(tables.text(each.account))
        label = "Resume" if each.paused_at else "Pause"
        act = tables.act(label, "/webhooks/change", number=str(each.id), what=label.lower())
        cells.append(act if page.may("webhooks:write") else tables.Cell())
        rows.append(cells)
    values = {
        "table": PageTable("Webhooks", titles, rows, "No webhook."),
        "secret": secret,
        "numbers": [(str(each.id), each.url) for each in found],
        "events": await _events(page),
    }
    return PageView("webhooks.html", "Webhooks and events", values)


async def _events(page: PageRequest) -> PageTable | None:
    """Return the newest events of the user's account; None for an operator."""
    own = page.context.actor.account_id
    if own is None:
        return None
    outbox = page.context.store.outbox
    upto = await outbox.watermark()
    found = await outbox.read(own, max(0, await outbox.newest(own) - 2000), upto, limit=2000)
    titles = tables.columns(at=("When", "time"), kind="What", to="Recipient", data=("Details", "wide"))
    rows = []
    for each in reversed(found[-EVENTS:]):
        said = ", ".join(f"{key} {value}" for key, value in each.data.items() if value not in (None, "", []))
        rows.append([tables.at(each.at), tables.text(each.kind), tables.text(each.recipient or ""), tables.text(said)])
    return PageTable("Newest events", titles, rows, "No event yet: they are kept once there is a webhook.")


@routes.post("/webhooks", "webhooks:write", again=webhook_list)
async def add_webhook(page: PageRequest) -> Answer:
    """Make a webhook, and show its signing secret, once."""
    account = page.text("account") if page.is_operator else page.context.actor.account or ""
    kinds = page.text("kinds").replace(",", " ").split()
    _, secret = await webhooks.add(page.context, account, page.required("url", "the address"), kinds)
    return await _webhooks(page, secret)


@routes.post("/webhooks/change", "webhooks:write", again=webhook_list)
async def change_webhook(page: PageRequest) -> Answer:
    """Pause, resume, rotate or remove a webhook."""
    number = page.number("number") or 0
    match page.text("what"):
        case "pause":
            await webhooks.pause(page.context, number)
            return Redirect("/webhooks", "Paused; events are kept.")
        case "resume":
            await webhooks.resume(page.context, number)
            return Redirect("/webhooks", "Resumed.")
        case "rotate":
            return await _webhooks(page, await webhooks.rotate(page.context, number))
        case "remove":
            await webhooks.remove(page.context, number, reason=page.required("reason", "the reason"))
            return Redirect("/webhooks", "Removed.")
        case _:
            raise InvalidValue("what", "choose what is done")

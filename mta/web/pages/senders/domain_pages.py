"""Sender domains: the records to publish, and what the last look found."""

from __future__ import annotations

from collections.abc import Mapping

from mta.admin.errors import InvalidValue, NotFound
from mta.admin.senders import accounts, domains, keys
from mta.delivery.egress.sources import configured
from mta.dkim.records import record_name, record_text
from mta.mail.address import AddressError, parse_domain
from mta.store.accounts.account_cache import AccountDetails, DomainDetails
from mta.web.pages import tables
from mta.web.pages.frame import Answer, PageRequest, PageRoutes, PageView, Redirect
from mta.web.pages.senders.key_pages import key_table
from mta.web.pages.tables import PageTable

routes = PageRoutes()

_SUBJECTS = {"owner": "proof"}
_TONES = {"good": "ok", "bad": "bad"}


@routes.get("/domains", "domains:read")
async def domain_list(page: PageRequest) -> Answer:
    """List sender domains with the state of each."""
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
                tables.text(", ".join(f"{subject}: {how}" for subject, how, _, _ in report_of(each.report))),
                tables.at(each.checked_at),
            ]
            if page.is_operator:
                cells.append(tables.link(details.account.name, f"/accounts/{details.account.name}"))
            rows.append(cells)
    table = PageTable.sorted(page, "Domains", titles, rows, empty="No domain yet.")
    if tables.wants_csv(page):
        return table.to_csv("domains")
    return PageView("domains.html", "Domains and keys", {"table": table})


def report_of(report: Mapping[str, str]) -> list[tuple[str, str, str, str]]:
    """Return what a look into the DNS found: subject, how it is, the tone of that, the whole text."""
    found = []
    for subject, said in report.items():
        how, _, text = said.partition(": ")
        found.append((_SUBJECTS.get(subject, subject.upper()), how, _TONES.get(how, "warn"), text or said))
    return found


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
    table = await key_table(page, found.domain)
    table.csv = ""
    report = report_of(found.report)
    values = {"owner": owner.account, "domain": found, "report": report, "records": records, "keys": table}
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

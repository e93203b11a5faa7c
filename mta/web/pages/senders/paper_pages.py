"""The papers of an account: who stands behind it, by language. Its imprint must show them."""

from __future__ import annotations

from urllib.parse import quote

from mta.admin.errors import InvalidValue
from mta.admin.senders import accounts
from mta.web.pages.frame import Answer, PageRequest, PageRoutes, PageView, Redirect
from mta.web.pages.senders.account_pages import IDENTITY
from policy.accounts.account import Identity
from policy.languages import TextLanguage

routes = PageRoutes()

WRITE = "terms:write"
LANGUAGES = [(each.value, each.value) for each in TextLanguage]
OPTIONAL = frozenset({"register", "number", "vat", "representative"})


def _home(page: PageRequest) -> str:
    """Return the page of the account, as its user or an operator sees it."""
    return f"/accounts/{quote(page.path_text('name'))}" if page.is_operator else "/account"


@routes.get("/accounts/{name}/papers", WRITE)
async def show(page: PageRequest) -> PageView:
    """Show the form, with what is registered in the language asked for."""
    account = (await page.context.account(page.path_text("name"))).account
    language = page.query("language") or page.text("language")
    known = next((each for each in account.identities if each.language == language), None)
    values = {
        "account": account,
        "fields": [(name, label, name not in OPTIONAL) for name, label in IDENTITY[1:]],
        "languages": LANGUAGES,
        "language": language,
        "known": known,
        "names": "\n".join(known.names) if known else "",
    }
    crumbs = [("Accounts", "/accounts"), (account.name, _home(page))] if page.is_operator else []
    return PageView("papers.html", f"Papers of {account.name}", values, crumbs)


@routes.post("/accounts/{name}/papers", WRITE, again=show)
async def register(page: PageRequest) -> Answer:
    """Register who stands behind the account, in one language."""
    name, language = page.path_text("name"), page.choice("language", TextLanguage).value
    names = tuple(each.strip() for each in page.text("names").splitlines() if each.strip())
    if not names:
        raise InvalidValue("names", "the name is missing")
    values = {
        key: page.text(key) if key in OPTIONAL else page.required(key, label.lower()) for key, label in IDENTITY[1:]
    }
    await accounts.set_identity(page.context, name, Identity(language=language, names=names, **values))
    return Redirect(_home(page), f"The papers in {language} are registered.")


@routes.post("/accounts/{name}/papers/remove", WRITE, again=show)
async def remove(page: PageRequest) -> Answer:
    """Remove the papers in one language."""
    name, language = page.path_text("name"), page.choice("language", TextLanguage).value
    reason = page.required("reason", "the reason")
    await accounts.remove_identity(page.context, name, language, reason=reason)
    return Redirect(_home(page), f"The papers in {language} are removed.")

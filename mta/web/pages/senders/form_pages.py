"""Sign-up forms: how many signed up, the HTML to copy, texts by language, close."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from config.toml import dotted
from mta.admin import sign_up_forms
from mta.admin.errors import InvalidValue, NotFound
from mta.store.permission.sign_ups import KeptForm
from mta.web.pages import tables
from mta.web.pages.frame import Answer, PageRequest, PageRoutes, PageView, Redirect
from mta.web.pages.tables import PageTable
from policy.languages import TextLanguage
from policy.permission.sign_up_form import SignUpForm

routes = PageRoutes()

READ, WRITE = "sign-up-forms:read", "sign-up-forms:write"
LANGUAGES = [each.value for each in TextLanguage]
MOST = 500  # forms listed


@routes.get("/forms", READ)
async def list_(page: PageRequest) -> Answer:
    """List forms with the requests of the last 30 days, and make one."""
    more = {"account": "Account"} if page.is_operator else {}
    titles = tables.columns(
        name="Form", topics=("Topics", "wide"), languages="Languages", asked=("Asked", "number"),
        confirmed=("Confirmed", "number"), state="State", **more,
    )  # fmt: skip
    rows = []
    for each in await sign_up_forms.list_page(page.context, limit=MOST):
        cells = [
            tables.link(each.form.name, _path(each)),
            tables.text(", ".join(topic.name for topic in each.form.topics)),
            tables.text(", ".join(each.form.languages)),
            tables.number(each.asked),
            tables.number(each.confirmed),
            tables.badge("closed") if each.closed_at else tables.badge("open", "ok"),
        ]
        rows.append([*cells, tables.text(each.account)] if page.is_operator else cells)
    table = PageTable.sorted(page, "Sign-up forms", titles, rows, empty="No form yet.")
    if tables.wants_csv(page):
        return table.to_csv("forms")
    values = {"table": table, "languages": LANGUAGES, "form": None}
    return PageView("sign_up_forms.html", "Sign-up forms", values)


def _path(form: KeptForm) -> str:
    return f"/forms/{form.account}/{form.form.name}"


@routes.get("/forms/{account}/{form}", READ)
async def show(page: PageRequest) -> PageView:
    """Show a form: its figures, the HTML to copy, its texts."""
    found = await sign_up_forms.get(page.context, page.path_text("account"), page.path_text("form"))
    address = sign_up_forms.page_of(page.context, found)
    codes = [(each, sign_up_forms.embedding(page.context, found, each)) for each in found.form.languages if address]
    values = {
        "found": found,
        "form": found.form,
        "address": address,
        "codes": codes,
        "languages": LANGUAGES,
        "to": _path(found),
        "labels": {each: _labels(found.form, each) for each in found.form.languages},
    }
    return PageView("sign_up_form.html", found.form.name, values, [("Sign-up forms", "/forms")])


def _labels(form: SignUpForm, language: str) -> str:
    return "\n".join(f"{name} = {label}" for name, label in form.labels(language).items())


@routes.post("/forms", WRITE, again=list_)
async def add(page: PageRequest) -> Answer:
    """Make a form, or change the one of the same name."""
    account = page.text("account") if page.is_operator else page.context.actor.account or ""
    return await _put(page, account, page.required("name", "the name"))


@routes.post("/forms/{account}/{form}", WRITE, again=show)
async def change(page: PageRequest) -> Answer:
    """Change the texts of a form. Requests keep those that their person saw."""
    return await _put(page, page.path_text("account"), page.path_text("form"))


async def _put(page: PageRequest, account: str, name: str) -> Redirect:
    try:
        form = SignUpForm.model_validate({**_read(page, name), "headings": await _headings(page, account, name)})
    except ValidationError as error:
        first = error.errors()[0]
        raise InvalidValue(str(first["loc"][0]), f"{dotted(first['loc'])}: {first['msg']}") from None
    kept = await sign_up_forms.put(page.context, account, form)
    return Redirect(_path(kept), "Kept. What people saw who have signed up stays with their proof.")


async def _headings(page: PageRequest, account: str, name: str) -> dict[str, str]:
    """Return what a form has that the page does not show."""
    try:
        return dict((await sign_up_forms.get(page.context, account, name)).form.headings)
    except NotFound:
        return {}


def _read(page: PageRequest, name: str) -> dict[str, Any]:
    """Return the fields as they stand in the file of a form. Raises InvalidValue."""
    statements = {each: text for each in LANGUAGES if (text := page.text(f"statements.{each}"))}
    if not statements:
        raise InvalidValue("version", "write what people agree to, in one language at least")
    topics: dict[str, dict[str, str]] = {}
    for language in statements:
        for line in filter(None, page.text(f"topics.{language}").splitlines()):
            topic, sign, label = line.partition("=")
            if not sign or not topic.strip() or not label.strip():
                raise InvalidValue(f"topics.{language}", f"{line[:60]!r}: write NAME = what people read, one a line")
            topics.setdefault(topic.strip(), {})[language] = label.strip()
    return {
        "name": name,
        "sender": page.required("sender", "the sender"),
        "version": page.required("version", "the version"),
        "statements": statements,
        "topics": [{"name": topic, "labels": labels} for topic, labels in topics.items()],
        "page": page.text("page"),
        "sites": page.text("sites").split(),
        "sponsors": [each.strip() for each in page.text("sponsors").splitlines() if each.strip()],
    }


@routes.post("/forms/{account}/{form}/close", WRITE, again=show)
async def close(page: PageRequest) -> Answer:
    """Take no more requests."""
    account, name, reason = page.path_text("account"), page.path_text("form"), page.required("reason", "the reason")
    await sign_up_forms.close(page.context, account, name, reason=reason)
    return Redirect(f"/forms/{account}/{name}", "Closed. Links that were sent stay good.")

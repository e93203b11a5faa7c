"""Sign-up forms: make, change, list, close.

Invariants: a form is kept only if its texts say what a consent needs; an account reaches its own forms only.
"""

from __future__ import annotations

from functools import cache
from html import escape

from config.toml import dotted, read
from mta.admin.context import AdminContext
from mta.admin.errors import InvalidValue, NotFound, Refused
from mta.store.journal.account_changes import AccountError
from mta.store.permission.sign_ups import KeptForm
from policy.languages import load_texts, spoken
from policy.permission.evidence import Assessor, load_assessor
from policy.permission.sign_up_form import SignUpForm, mistakes

_assessor = cache(load_assessor)


async def read_form(context: AdminContext, account: str, text: str, name: str) -> SignUpForm:
    """Return the form that a TOML file describes. ``name``: the file's, for messages.

    Raises NotFound, ConfigError with every mistake and its line, StoreUnavailable.
    """
    owner = (await context.account(account)).account
    return read(text, name, SignUpForm, lambda form: mistakes(form, owner, _assessor()))


async def put(context: AdminContext, account: str, form: SignUpForm) -> KeptForm:
    """Make a form, or change the one of the same name. Raises NotFound, InvalidValue, StoreUnavailable."""
    owner = (await context.account(account)).account
    assessor: Assessor = _assessor()
    for mistake in mistakes(form, owner, assessor):
        raise InvalidValue(dotted(mistake.path), f"{dotted(mistake.path)}: {mistake.text}")
    async with context.audited("sign-up-form.put", form.name, account_id=owner.id) as entry:
        entry.after.update(form.model_dump(mode="json"))
        await context.store.sign_ups.put_form(owner.id, form, by=context.actor.name)
    return await get(context, account, form.name)


async def list_page(
    context: AdminContext, *, account: str | None = None, after: str = "", limit: int = 100
) -> list[KeptForm]:
    """Return forms in the order of their ids. Raises NotFound, StoreUnavailable."""
    account_id = await context.account_filter(account)
    return await context.store.sign_ups.forms(account_id, after=after, limit=limit)


async def get(context: AdminContext, account: str, name: str) -> KeptForm:
    """Raises NotFound, StoreUnavailable."""
    owner = (await context.account(account)).account
    for form in await context.store.sign_ups.forms(owner.id):
        if form.form.name == name:
            return form
    raise NotFound(f"the account {account} has no form {name!r}")


async def close(context: AdminContext, account: str, name: str, *, reason: str = "") -> None:
    """Take no more requests; links that were sent stay good. Raises NotFound, StoreUnavailable."""
    owner = (await context.account(account)).account
    async with context.audited("sign-up-form.close", name, account_id=owner.id, reason=reason):
        try:
            await context.store.sign_ups.close_form(owner.id, name, by=context.actor.name)
        except AccountError as error:
            raise NotFound(str(error)) from None


def page_of(context: AdminContext, form: KeptForm) -> str | None:
    """Return the URL of the form's own page; None if ``web.public.url`` is not set."""
    url = context.settings.web.public.url
    return f"{url.rstrip('/')}/s/{form.id}" if url else None


def embedding(context: AdminContext, form: KeptForm, language: str) -> str:
    """Return HTML to copy into a page: the form itself, without a script. Raises InvalidValue, Refused."""
    page = page_of(context, form)
    if page is None:
        raise Refused("web.public.url is not set: there is no address that the form can post to")
    if language not in form.form.statements:
        known = ", ".join(form.form.languages)
        raise InvalidValue("language", f"the form has no texts in {language!r}; it has: {known}")
    words = load_texts()[spoken(language)].sign_up
    boxes = "".join(
        f'    <label><input type="checkbox" name="topic" value="{escape(name)}"> {escape(label)}</label>\n'
        for name, label in form.form.labels(language).items()
    )
    sponsors = (
        f"  <p>{escape(words.sponsors)} {escape(', '.join(form.form.sponsors))}</p>\n" if form.form.sponsors else ""
    )
    return (
        f'<form method="post" action="{escape(page)}" accept-charset="utf-8">\n'
        f'  <input type="hidden" name="language" value="{escape(language)}">\n'
        f'  <label>{escape(words.address)} <input type="email" name="address" autocomplete="email" required></label>\n'
        f"  <fieldset>\n    <legend>{escape(words.topics)}</legend>\n{boxes}  </fieldset>\n{sponsors}"
        f"  <p>{escape(form.form.statements[language])}</p>\n"
        f'  <p hidden><input type="text" name="website" tabindex="-1" autocomplete="off"></p>\n'
        f'  <button type="submit">{escape(words.submit)}</button>\n'
        f"</form>\n"
        f"<!-- or in a frame -->\n"
        f'<iframe src="{escape(page)}?language={escape(language)}" title="{escape(words.heading)}"></iframe>\n'
    )

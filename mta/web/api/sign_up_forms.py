"""``/v1/sign-up-forms``: forms by which people sign up, with double opt-in."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated

from fastapi import Path, Query, Response
from pydantic import Field

from mta.admin import sign_up_forms
from mta.admin.context import AdminContext
from mta.store.permission.sign_ups import KeptForm
from mta.web.api.credentials import own_account
from mta.web.api.fields import AccountFilter, Line, Model
from mta.web.api.listing import Cursor, ListPage, PagingParameters, listed
from mta.web.api.routing import ApiRouter, Context
from policy.permission.sign_up_form import SignUpForm

router = ApiRouter("sign-up-forms")

READ, WRITE = "sign-up-forms:read", "sign-up-forms:write"
_CURSOR: Cursor[str] = Cursor(Line)
FormName = Annotated[Line, Path(max_length=60, description="Name of the form.")]
FormLanguage = Annotated[Line, Query(max_length=10, description="One of those that the form has texts in.")]


class SignUpFormItem(Model):
    """``page``: where it can be filled in; null: `web.public.url` is not set. ``asked``, ``confirmed``: requests of the
    last 30 days."""

    id: str
    account: str
    name: str
    page: str | None
    form: SignUpForm
    created_at: datetime
    created_by: str
    closed_at: datetime | None
    asked: int
    confirmed: int


class Closing(Model):
    account: Line = Field(max_length=64)
    reason: Line = Field("", max_length=200)


class NewSignUpForm(Model):
    account: Line = Field(max_length=64, description="Whose form it is.")
    form: SignUpForm


class FormHtml(Model):
    html: str


class ClosedForm(Model):
    closed: bool


def _item(context: AdminContext, form: KeptForm) -> SignUpFormItem:
    return SignUpFormItem(
        id=form.id,
        account=form.account,
        name=form.form.name,
        page=sign_up_forms.page_of(context, form),
        form=form.form,
        created_at=form.created_at,
        created_by=form.created_by,
        closed_at=form.closed_at,
        asked=form.asked,
        confirmed=form.confirmed,
    )


@router.operation("GET", "", READ, response_model=ListPage[SignUpFormItem])
async def list_(context: Context, paging: PagingParameters, account: AccountFilter = None) -> Response:
    """List sign-up forms with their figures."""

    async def fetch(after: str | None, limit: int) -> Sequence[tuple[str, SignUpFormItem]]:
        found = await sign_up_forms.list_page(context, account=account, after=after or "", limit=limit)
        return [(each.id, _item(context, each)) for each in found]

    return await listed(paging, SignUpFormItem, _CURSOR, fetch)


@router.operation("POST", "", WRITE)
async def put(context: Context, body: NewSignUpForm) -> SignUpFormItem:
    """Make a form, or change the one of the same name. Requests keep the texts that their person saw."""
    return _item(context, await sign_up_forms.put(context, body.account, body.form))


@router.operation("GET", "/{name}", READ)
async def show(context: Context, name: FormName, account: AccountFilter = None) -> SignUpFormItem:
    """Return a form with its figures."""
    return _item(context, await sign_up_forms.get(context, own_account(context, account), name))


@router.operation("GET", "/{name}/html", READ)
async def html(context: Context, name: FormName, language: FormLanguage, account: AccountFilter = None) -> FormHtml:
    """Return a form as HTML to copy into a page, without a script."""
    form = await sign_up_forms.get(context, own_account(context, account), name)
    return FormHtml(html=sign_up_forms.embedding(context, form, language))


@router.operation("POST", "/{name}/close", WRITE)
async def close(context: Context, name: FormName, body: Closing) -> ClosedForm:
    """Take no more requests; links that were sent stay good."""
    await sign_up_forms.close(context, body.account, name, reason=body.reason)
    return ClosedForm(closed=True)

"""``/v1/keys``: DKIM keys, with the records to publish."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated

from fastapi import Path, Query, Response
from pydantic import Field

from mta.admin.senders import keys
from mta.admin.senders.keys import CheckedKey
from mta.dkim.keyring import ListedKey
from mta.dkim.keys import Algorithm
from mta.dkim.records import record_name, record_strings, record_text, zone_line
from mta.store.accounts.dkim_keys import KeyState
from mta.web.api.domains import DomainInPath
from mta.web.api.fields import DomainField, Line, Model
from mta.web.api.listing import Cursor, ListPage, PagingParameters, listed_from
from mta.web.api.routing import ApiRouter, Context

router = ApiRouter("keys")

READ, WRITE = "keys:read", "keys:write"
_Key = tuple[Line, Line, bool]
_CURSOR: Cursor[_Key] = Cursor(_Key)
SelectorInPath = Annotated[Line, Path(max_length=63, description="The selector (s=).")]


class KeyRecord(Model):
    """The record to publish. ``strings``: the text as DNS strings; ``zone``: a line for a zone file."""

    name: str
    type: str
    text: str
    strings: Sequence[str]
    zone: str


class KeyItem(Model):
    """``source``: the store or a file; ``warning``: what is weak about it."""

    domain: str
    selector: str
    algorithm: Algorithm
    bits: int
    state: KeyState
    since: datetime | None
    source: str
    warning: str | None
    record: KeyRecord


class DifferenceItem(Model):
    """``breaks``: signatures do not verify because of it."""

    kind: str
    breaks: bool
    text: str


class CheckedKeyItem(Model):
    """``verifies``: whether signatures verify by what the DNS has; ``problem``: why that could not be seen."""

    key: KeyItem
    verifies: bool
    problem: str | None
    differences: list[DifferenceItem]


class NewKeyBody(Model):
    domain: DomainField
    algorithms: list[Algorithm] = Field([Algorithm.RSA], min_length=1, max_length=2)
    selector: Line | None = Field(None, min_length=1, max_length=63, description="Default: of algorithm and date.")


class ForceBody(Model):
    force: bool = Field(False, description="Whatever stands against it.")


def _item(listed: ListedKey) -> KeyItem:
    key = listed.key
    return KeyItem(
        domain=key.domain,
        selector=key.selector,
        algorithm=key.algorithm,
        bits=key.bits,
        state=listed.state,
        since=listed.since,
        source=key.source,
        warning=key.warning() or None,
        record=KeyRecord(
            name=record_name(key),
            type="TXT",
            text=record_text(key),
            strings=list(record_strings(key)),
            zone=zone_line(key),
        ),
    )


def _checked(checked: CheckedKey) -> CheckedKeyItem:
    return CheckedKeyItem(
        key=_item(checked.listed),
        verifies=not checked.problem and not any(found.kind.breaks for found in checked.differences),
        problem=checked.problem,
        differences=[
            DifferenceItem(kind=found.kind.value, breaks=found.kind.breaks, text=found.text)
            for found in checked.differences
        ],
    )


@router.operation("GET", "", READ, response_model=ListPage[KeyItem])
async def list_(
    context: Context,
    paging: PagingParameters,
    domain: Annotated[Line | None, Query(max_length=400, description="Only keys of this domain.")] = None,
) -> Response:
    """List DKIM keys by domain and selector."""
    found = await keys.list_all(context, domain)
    items = [((each.key.domain, each.key.selector, each.in_file), _item(each)) for each in found]
    return await listed_from(paging, KeyItem, _CURSOR, sorted(items, key=lambda pair: pair[0]))


@router.operation("POST", "", WRITE, status_code=201)
async def create(context: Context, body: NewKeyBody) -> list[KeyItem]:
    """Make keys, one for each algorithm. They do not sign yet: publish their records, then activate them."""
    made = await keys.create(context, body.domain, list(dict.fromkeys(body.algorithms)), body.selector)
    return [_item(each) for each in made]


@router.operation("GET", "/{domain}/{selector}", READ)
async def show(context: Context, domain: DomainInPath, selector: SelectorInPath) -> KeyItem:
    """Return a key with the record to publish."""
    return _item(await keys.find(context, domain, selector))


@router.operation("GET", "/{domain}/{selector}/check", READ)
async def check(context: Context, domain: DomainInPath, selector: SelectorInPath) -> CheckedKeyItem:
    """Compare a key with the DNS now."""
    return _checked(await keys.check(context, domain, selector))


@router.operation("POST", "/{domain}/{selector}/activate", WRITE)
async def activate(context: Context, domain: DomainInPath, selector: SelectorInPath, body: ForceBody) -> KeyItem:
    """Let a key sign from now on, beside the others of its domain, if the DNS has its record."""
    return _item(await keys.activate(context, domain, selector, force=body.force))


@router.operation("POST", "/{domain}/{selector}/retire", WRITE)
async def retire(context: Context, domain: DomainInPath, selector: SelectorInPath, body: ForceBody) -> KeyItem:
    """Stop signing with a key. Its record must stay until no queued mail carries its signatures."""
    return _item(await keys.retire(context, domain, selector, force=body.force))

"""Types of the values in requests and responses."""

from __future__ import annotations

import base64
import binascii
import unicodedata
from typing import Annotated, Any
from uuid import UUID

from fastapi import Depends, Path, Query
from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    WithJsonSchema,
    model_validator,
)
from pydantic import BaseModel as _BaseModel

from mta.admin.errors import InvalidValue
from mta.mail.address import Address, AddressError, parse_domain
from mta.mail.identity import MessageId, format_id, parse_id

MAX_FIELDS = 100  # of an object


class Model(_BaseModel):
    """A body of a request or response: unknown fields are mistakes."""

    model_config = ConfigDict(extra="forbid", from_attributes=True)

    @model_validator(mode="before")
    @classmethod
    def _few_fields(cls, value: Any) -> Any:
        """Refuse an object of many fields as a whole: a mistake for each would take seconds."""
        if isinstance(value, dict) and len(value) > MAX_FIELDS:
            raise ValueError(f"has more than {MAX_FIELDS} fields")
        return value


def _printable(text: str) -> str:
    if any(unicodedata.category(each) in ("Cc", "Cs", "Zl", "Zp") for each in text):
        raise ValueError("must not contain control characters")
    return text


def _several_lines(text: str) -> str:
    _printable(text.replace("\n", "").replace("\t", ""))
    return text


def _address(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        return Address.parse(value)
    except AddressError as error:
        raise ValueError(str(error)) from None


Line = Annotated[str, AfterValidator(_printable)]
"""Text without control characters."""

Paragraph = Annotated[str, AfterValidator(_several_lines)]
"""Text of several lines."""


def _base64(value: object) -> object:
    if not isinstance(value, str):
        raise ValueError("must be base64, in a string")
    try:
        return base64.b64decode(value.replace("\r", "").replace("\n", ""), validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("is not base64 (RFC 4648 4)") from None


Base64 = Annotated[
    bytes,
    BeforeValidator(_base64),
    WithJsonSchema({"type": "string", "contentEncoding": "base64", "pattern": "^[A-Za-z0-9+/\r\n]*={0,2}$"}),
]
"""Octets, as base64."""

AddressField = Annotated[
    Address,
    BeforeValidator(_address),
    PlainSerializer(str, return_type=str),
    WithJsonSchema({"type": "string", "format": "email", "maxLength": 254}),
]
"""An e-mail address."""


async def _address_in_path(
    address: Annotated[str, Path(max_length=400, description="E-mail address.", json_schema_extra={"format": "email"})],
) -> Address:
    try:
        return Address.parse(address)
    except AddressError as error:
        raise InvalidValue("address", f"address: {error}") from None


AddressInPath = Annotated[Address, Depends(_address_in_path)]


def _message_id(value: object) -> object:
    return format_id(value) if isinstance(value, UUID) else value


MessageIdField = Annotated[str, BeforeValidator(_message_id)]
"""A message id, as it is written."""


async def _message_id_in_path(
    message: Annotated[str, Path(max_length=40, description="Id of the message.")],
) -> MessageId:
    try:
        return parse_id(message)
    except ValueError as error:
        raise InvalidValue("message", str(error)) from None


MessageIdInPath = Annotated[MessageId, Depends(_message_id_in_path)]


def _domain(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        return parse_domain(value)
    except AddressError as error:
        raise ValueError(str(error)) from None


DomainField = Annotated[str, BeforeValidator(_domain), Field(max_length=400)]
"""A domain name; it is kept as lower-case A-labels."""

AccountName = Annotated[Line, Path(max_length=64, description="Name of the account.")]
AccountFilter = Annotated[Line | None, Query(max_length=64, description="Only this account.")]


class Because(Model):
    """Why something is done."""

    reason: Line = Field("", max_length=500, description="Why; kept in the history.")


class BecauseOf(Model):
    """Why something is done, which must be said."""

    reason: Line = Field(min_length=1, max_length=500, description="Why; kept in the history.")


class DryRun(BecauseOf):
    """``dry_run``: only say what would be done."""

    dry_run: bool = False

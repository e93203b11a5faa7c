"""Types of the values in requests and responses."""

from __future__ import annotations

import base64
import binascii
import unicodedata
from typing import Annotated

from fastapi import Depends, Path, Query
from pydantic import AfterValidator, BeforeValidator, ConfigDict, PlainSerializer, WithJsonSchema
from pydantic import BaseModel as _BaseModel

from mta.admin.errors import InvalidValue
from mta.mail.address import Address, AddressError


class Model(_BaseModel):
    """A body of a request or response: unknown fields are mistakes."""

    model_config = ConfigDict(extra="forbid", from_attributes=True)


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

Reason = Annotated[str, Query(min_length=1, max_length=1000, description="Why; kept in the history.")]


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


def _address_in_path(
    address: Annotated[str, Path(max_length=400, description="E-mail address.", json_schema_extra={"format": "email"})],
) -> Address:
    try:
        return Address.parse(address)
    except AddressError as error:
        raise InvalidValue("address", f"address: {error}") from None


AddressInPath = Annotated[Address, Depends(_address_in_path)]

AccountName = Annotated[Line, Path(max_length=64, description="Name of the account.")]
AccountFilter = Annotated[Line | None, Query(max_length=64, description="Only this account.")]

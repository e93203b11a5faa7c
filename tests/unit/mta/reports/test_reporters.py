"""Whose report is believed: a signature of the From field's own organisation over all of the mail, or the operator's
word."""

from __future__ import annotations

import base64
from functools import cache

import dkim
import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from mta.delivery.name_servers import DnsError
from mta.reports.reporters import verified_author

REPORT = b"From: Loop <fbl@mail.example.com>\r\nTo: fbl@returns.example.net\r\nSubject: complaint\r\n\r\nspam\r\n"


@cache
def key() -> RSAPrivateKey:
    return generate_private_key(65537, 2048)


class Names:
    """A resolver that knows one key."""

    def __init__(self, name: str = "s1._domainkey.example.com", trouble: bool = False) -> None:
        self._name, self._trouble = name, trouble
        self.asked: list[str] = []

    async def txt(self, name: str) -> list[str]:
        self.asked.append(name)
        if self._trouble:
            raise DnsError("no answer")
        public = key().public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        record = f"v=DKIM1; k=rsa; p={base64.b64encode(public).decode()}"
        return ["something else", record] if name == self._name else []


def signed(content: bytes = REPORT, domain: bytes = b"example.com", **more: object) -> bytes:
    pem = key().private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    headers = more.pop("headers", [b"from", b"to", b"subject"])
    made: bytes = dkim.sign(content, b"s1", domain, pem, include_headers=headers, **more)
    return made + content


async def ask(content: bytes, names: Names | None = None, trusted: tuple[str, ...] = ()) -> str | None:
    return await verified_author(content, names or Names(), trusted)  # type: ignore[arg-type]


async def test_a_signature_of_the_same_organisation() -> None:
    assert await ask(signed()) == "mail.example.com"


@pytest.mark.parametrize(
    "content",
    [
        REPORT,
        signed().replace(b"spam", b"Spam"),
        signed().replace(b"fbl@mail.example.com", b"fbl@example.org"),
        signed(length=True) + b"and more\r\n",
        b"From: fbl@example.com\r\n" + signed(),
        REPORT.replace(b"From: Loop <fbl@mail.example.com>\r\n", b""),
        b"no header at all",
        b"",
    ],
)
async def test_nothing_less(content: bytes) -> None:
    assert await ask(content) is None


async def test_another_domains_signature_is_not_looked_up() -> None:
    names = Names("s1._domainkey.example.org")
    assert await ask(signed(domain=b"example.org"), names) is None
    assert names.asked == []


async def test_a_public_suffix_is_nobodys_organisation() -> None:
    content = signed(REPORT.replace(b"mail.example.com", b"example.co.uk"), domain=b"co.uk")
    assert await ask(content, Names("s1._domainkey.co.uk")) is None


async def test_the_operators_word_is_enough() -> None:
    assert await ask(REPORT, trusted=("example.com",)) == "mail.example.com"
    assert await ask(REPORT, trusted=("ample.com", "x.mail.example.com")) is None


async def test_who_cannot_be_looked_up_is_asked_again() -> None:
    with pytest.raises(DnsError):
        await ask(signed(), Names(trouble=True))

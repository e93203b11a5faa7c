"""A newsletter as an application would build it: text and HTML, with an imprint and a visible way out, or without.

*Limits.* The company is invented; its numbers have valid check digits and belong to nobody we know of.
"""

from __future__ import annotations

from collections.abc import Sequence
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import formatdate, make_msgid

from policy.accounts.account import Identity

IDENTITY = Identity(
    language="en",
    names=("Demo Bakery B.V.",),
    street="Keizersgracht 1",
    postcode="1015 CN",
    city="Amsterdam",
    country="NL",
    phone="+31 20 794 0001",
    email="desk@demo.example",
    register="KvK",
    number="12345678",
    vat="NL123456782B90",
    representative="A. Baker",
)
_OURS = IDENTITY

IMPRINT = (
    "Legal notice",
    _OURS.names[0],
    _OURS.street,
    f"{_OURS.postcode} {_OURS.city}, The Netherlands",
    f"Represented by {_OURS.representative}",
    f"Phone {_OURS.phone}, e-mail {_OURS.email}",
    f"{_OURS.register} {_OURS.number}, VAT {_OURS.vat}",
)
UNSUBSCRIBE = "https://demo.example/unsubscribe"


def newsletter(
    sender: str, recipients: Sequence[str], subject: str, *, imprint: bool = True, fields: dict[str, str] | None = None
) -> bytes:
    """The whole message. ``fields``: more header fields, such as ``X-MTA-Mailing``."""
    message = EmailMessage()
    message["From"] = f"Demo Bakery <{sender}>"
    message["To"] = ", ".join(recipients)
    message["Subject"] = subject
    message["Date"] = formatdate()
    message["Message-ID"] = make_msgid(domain="demo.example")
    for name, value in (fields or {}).items():
        message[name] = value
    notice = IMPRINT if imprint else ()
    lines = ("Good morning,", "this week our sourdough is half the price.", "", f"Unsubscribe: {UNSUBSCRIBE}")
    message.set_content("\n".join((*lines, "", *notice)) + "\n")
    paragraphs = "".join(f"<p>{line}</p>" for line in lines[:2])
    page = (
        f"<html><body>{paragraphs}<p><img src='https://demo.example/logo.png' alt='Demo Bakery'></p>"
        f"<p><a href='{UNSUBSCRIBE}'>Unsubscribe</a></p><div>{'<br>'.join(notice)}</div></body></html>"
    )
    message.add_alternative(page, subtype="html")
    return message.as_bytes(policy=SMTP)

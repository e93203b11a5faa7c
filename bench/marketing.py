"""The service with all that a newsletter needs: a reviewed account with identity and terms, a list, a confirmed mailing
under the profile csa, and a consent for each recipient of ``bench.source``.

Limitations: the newsletter is the same for all recipients.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable

from bench.contenders import DOMAIN, Ours, Site
from bench.newsletter import newsletter
from bench.source import WARM_UP, recipient

_CONSENT = {
    "topics": "aanbiedingen",
    "basis": "double_opt_in",
    "given_at": "2026-10-01T12:00:00Z",
    "confirmed_at": "2026-10-01T12:05:00Z",
    "source_url": f"https://{DOMAIN}/form",
    "ip": "192.0.2.1",
    "confirm_ip": "192.0.2.1",
    "statement": "Ja, Voorbeeldwinkel B.V. mag mij aanbiedingen per e-mail sturen",
    "statement_version": "1",
    "language": "nl",
    "preticked": "no",
}
_IDENTITY = {
    "name": "Voorbeeldwinkel B.V.", "street": "Keizersgracht 123", "postcode": "1015 CJ", "city": "Amsterdam",
    "country": "NL", "phone": "+31 20 123 4567", "email": "service@shop.example", "register": "KvK",
    "number": "68750110", "vat": "NL004495445B01", "representative": "J. de Vries",
}  # fmt: skip
_OTHERS = re.compile(rb"(?i)^(?:From|To|Message-ID|Date):[^\r]*\r\n", re.MULTILINE)


class OursMarketing(Ours):
    """The whole marketing chain. ``consents``: how many recipients of fifty domains have agreed, from number 0;
    ``further``: who else has."""

    def __init__(self, site: Site, consents: int = 10_000, further: Iterable[str] = ()) -> None:
        super().__init__(site, "imprimatur-marketing")
        self._consents, self._further = consents, further

    def prepare(self) -> None:
        settings = {"return_path": {"domain": f"returns.{DOMAIN}"}, "web": {"public": {"url": f"https://mta.{DOMAIN}"}}}
        self.service.configure(**settings)
        cli = self.service.cli
        add = ("account", "add", "bench", "--domain", DOMAIN, "--network", "127.0.0.0/8", "--profile", "csa")
        cli(*add, "--approve", "a benchmark", "--verified", "--bounce-notifications", "none")
        cli("account", "set", "bench", "--contact", f"postmaster@{DOMAIN}")
        cli("account", "terms", "bench", "--by", "Bench")
        cli("account", "identity", "set", "bench", "nl", *(x for k, v in _IDENTITY.items() for x in (f"--{k}", v)))
        cli("account", "source", "add", "bench", "klanten", "--origin", f"form on {DOMAIN}")
        cli("account", "source", "approve", "bench", "klanten")
        cli("mailing", "add", "bench", "bench-1", "--topic", "aanbiedingen", "--list", "klanten")
        cli("mailing", "confirm", "bench-1", "--by", "Bench")
        agreed = self.service.directory / "consents.jsonl"
        with agreed.open("w") as lines:
            numbers = (*range(self._consents), *range(WARM_UP, WARM_UP + 200))
            for address in sorted({*(recipient(n, 50) for n in numbers), *self._further}):
                lines.write(json.dumps({"address": address, **_CONSENT}) + "\n")
        cli("consent", "import", str(agreed), "--account", "bench", patience=3600)


def content(size: int) -> bytes:
    """Return the newsletter as the account sends it."""
    written = newsletter(size).content
    head, _, body = written.partition(b"\r\n\r\n")
    fields = (
        f"From: Voorbeeldwinkel <sender@{DOMAIN}>\r\nTo: Ann Example <user@d00.example>\r\n"
        "Date: Sat, 21 Nov 2026 20:00:00 +0000\r\nMessage-ID: <bench.0@bench.example>\r\n"
        "X-MTA-Stream: marketing\r\nX-MTA-Mailing: bench-1\r\n"
    )
    return fields.encode() + _OTHERS.sub(b"", head + b"\r\n") + b"\r\n" + body

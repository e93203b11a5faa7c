"""A report processor on a store, with everything that its reports are attributed by."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from datetime import timedelta
from ipaddress import ip_address
from typing import Any

from bounce.classify import Classifier
from bounce.rules import load_rules
from bounce.suppression import soft_bounce_thresholds
from bounce.verp import Verp
from config.schema import Settings, SuppressionSettings
from mta.dkim import KeyRing, Signer
from mta.dkim.keys import Algorithm, SigningKey, new_pem, parse_key
from mta.dkim.records import record_text
from mta.mail.address import Address
from mta.mail.headers import Headers
from mta.observe.metrics import Metrics
from mta.queue.internal_mail import InternalMailBuilder
from mta.reports.attribution import ReportContext
from mta.reports.worker import ReportProcessor
from mta.service.composition import open_abuse_mail_reader
from mta.store.results.report_actions import InboundReport
from mta.store.store import Store
from policy.permission.tokens import Tokens
from policy.reputation.authorities import load_authorities
from policy.reputation.case_replies import CaseReplies

DOMAIN = "returns.example"
SETTINGS = Settings.model_validate({"server": {"hostname": "mta.example"}})
TOKENS = Tokens(bytes(range(32)))
VERP = Verp(DOMAIN, {1: bytes(range(32))}, timedelta(days=30))
CLASSIFIER = Classifier(load_rules())
READER = open_abuse_mail_reader()
REPLIES = CaseReplies(bytes(range(32)))
POSTMASTER = Address.parse("desk@mta.example")


class Names:
    """A resolver that knows the keys of these domains."""

    def __init__(self, *domains: str) -> None:
        self.keys: dict[str, SigningKey] = {
            domain: parse_key(new_pem(Algorithm.ED25519), domain=domain, selector="s1", source="test")
            for domain in domains
        }

    async def txt(self, name: str) -> list[str]:
        return [record_text(key) for domain, key in self.keys.items() if name == f"s1._domainkey.{domain}"]

    def sign(self, content: bytes, domain: str) -> bytes:
        signer = Signer(SETTINGS.signing, KeyRing([self.keys[domain]]))
        return signer.sign(headers := Headers.split(content), content[headers.size :], domain) + content


def context(
    address_key: Callable[[Address], bytes], trusted: Iterable[str] = (), replies: CaseReplies = REPLIES
) -> ReportContext:
    return ReportContext(
        domain=DOMAIN,
        tokens=TOKENS,
        verp=VERP,
        classifier=CLASSIFIER,
        thresholds=soft_bounce_thresholds(SuppressionSettings()),
        trusted_reporters=tuple(trusted),
        postmaster=POSTMASTER,
        abuse_mail=READER,
        authorities=load_authorities(),
        replies=replies,
        own_domains=frozenset({DOMAIN, "mta.example"}),
        receipts_per_hour=100,
        address_key=address_key,
    )


def processor(store: Store, names: Names, metrics: Metrics | None = None) -> ReportProcessor:
    resolver: Any = names
    builder = InternalMailBuilder(SETTINGS, Signer(SETTINGS.signing, KeyRing([])))
    return ReportProcessor(
        store, resolver, metrics or Metrics(), builder, context(store.suppressions.key, replies=store.cases.replies)
    )


async def arrive(store: Store, content: bytes, *to: str, sender: str | None = None) -> InboundReport:
    """The mail, accepted and claimed."""
    content = re.sub(rb"\r?\n", b"\r\n", content)
    recipients = [Address.parse(each) for each in to]
    await store.report_queue.put(
        Address.parse(sender) if sender else None, recipients, ip_address("192.0.2.1"), "mx.example", content
    )
    (inbound,) = await store.report_queue.claim(10)
    return inbound

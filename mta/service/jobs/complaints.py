"""Complaint cases while the service runs: accounts are told, and what is overdue has its consequences.

The clocks are the profiles' and the deadlines the store's; what is made here are the letters, signed like the
service's other notices and queued as its own mail, so that they leave although the account is suspended.

It must never let one account's trouble keep the others waiting, nor a profile that is gone stop a clock.

*Limits.* An account without an address to write to is told by its webhooks only; its clock runs all the same, and the
log says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from email import policy as mail_policy
from email.message import EmailMessage
from email.utils import format_datetime
from ipaddress import ip_address
from typing import Protocol

import orjson

from config.schema import Settings
from mta.dkim import KeyRing, Signer
from mta.mail.address import Address
from mta.mail.headers import Headers
from mta.mail.identity import format_id, new_message_id
from mta.mail.message import Body, Envelope, Message, Origin, Recipient
from mta.observe.log import get_logger
from mta.service.config_validation import validate_profiles
from mta.service.jobs.domain_verification import open_ring
from mta.store.queue.enqueue import NewMessage
from mta.store.store import Store
from policy.accounts.account import HOUSE, Account
from policy.base import Finding
from policy.profile import Profiles, UnknownProfile
from policy.reputation.complaint import Case, Clocks, Occasion
from policy.reputation.complaint_mail import CaseMailWriter, Letter, contacts_of

log = get_logger()

FINDING = Finding("letter", "pass", "a letter of our own about complaints; the policy chain does not apply")


class Accounts(Protocol):
    def by_id(self, account_id: int) -> Account | None: ...


class Casework:
    """What the store must know of the configuration to run the clocks: it is a ``Desk``. ``open`` makes one."""

    def __init__(self, settings: Settings, profiles: Profiles, accounts: Accounts, ring: KeyRing) -> None:
        self.settings = settings
        self._profiles, self._accounts = profiles, accounts
        self._ring, self._signer = ring, Signer(settings.signing, ring)
        self._scribe = CaseMailWriter()
        self._lifetime = timedelta(seconds=settings.queue.expire_after)
        hostname, returns = settings.server.hostname, settings.return_path.domain
        self._hostname = hostname
        self._desk = f"abuse@{returns}" if returns else f"postmaster@{hostname}"

    @classmethod
    async def open(cls, settings: Settings, store: Store) -> Casework:
        """With the keys that sign now. Raises ConfigError, StoreUnavailable."""
        return cls(settings, validate_profiles(settings), store.accounts, await open_ring(settings, store))

    async def refresh(self, store: Store) -> None:
        """Sign with the keys that the store has now. Raises StoreUnavailable."""
        self._ring.replace_stored(await store.dkim_keys.list())

    def clocks(self, profile: str) -> Clocks:
        """Those of ``profile``; the usual ones if it is gone."""
        try:
            return self._profiles.get(profile).complaints
        except UnknownProfile as error:
            log.warning("the usual clocks run for complaints", reason=str(error))
            return Clocks()

    def letter(self, occasion: Occasion, cases: Sequence[Case], now: datetime, remark: str = "") -> NewMessage | None:
        """To the account of ``cases``, with a remark of ours; None if there is no address to write to."""
        account = self._accounts.by_id(cases[0].account_id)
        if account is None or not (contacts := contacts_of(account)):
            return None
        to = contacts[0]
        letter = self._scribe.write(occasion, cases, self._scribe.language(account), remark)
        message_id, smtputf8 = new_message_id(), not str(to).isascii()
        content = _compose(letter, self._desk, to, f"<{format_id(message_id)}@{self._hostname}>")
        domain = self._desk.partition("@")[2]
        octets = self._signer.sign(content, Headers.split(content), domain) + content
        body = Body.EIGHT_BIT if smtputf8 else Body.SEVEN_BIT
        envelope = Envelope(None, (Recipient(to),), body, smtputf8)
        received_at = datetime.now(UTC)
        origin = Origin(
            account_id=HOUSE,
            account="",
            credential=None,
            client=ip_address("127.0.0.1"),
            hello=self._hostname,
            session="case",
            protocol="local",
            received_at=received_at,
        )
        message = Message(message_id, envelope, origin, Headers.split(octets), octets)
        return NewMessage(message, HOUSE, expires_at=received_at + self._lifetime, findings=(FINDING,))


async def work_cases(casework: Casework, store: Store, now: datetime | None = None) -> None:
    """One round of all clocks. Raises StoreUnavailable."""
    await casework.refresh(store)
    rung = await store.cases.clocks.ring(casework, now)
    if rung.told or rung.over:
        log.info("complaint cases", told=rung.told, overdue=rung.over)
    if rung.unheard:
        log.warning("an account has no contact to write to about complaints", cases=list(rung.unheard))


def _compose(letter: Letter, sender: str, to: Address, message_id: str) -> bytes:
    """The letter as a mail, with what the ledger says of each case beside it."""
    mail = EmailMessage(mail_policy.SMTP if str(to).isascii() else mail_policy.SMTPUTF8)
    mail["From"] = sender
    mail["To"] = str(to)
    mail["Subject"] = letter.subject
    mail["Date"] = format_datetime(datetime.now(UTC))
    mail["Message-ID"] = message_id
    mail["Auto-Submitted"] = "auto-generated"
    mail.set_content(letter.text, cte="quoted-printable")
    for number, dossier in letter.dossiers.items():
        content = orjson.dumps(dossier, option=orjson.OPT_INDENT_2)
        mail.add_attachment(content, maintype="application", subtype="json", filename=f"{number}.json")
    mail["Content-Language"] = letter.language  # at last: content fields move into the first part
    return mail.as_bytes()

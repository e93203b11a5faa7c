"""Write to the accounts of complaint cases, and to the desk: what the deadlines and decisions of a case need."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from email import policy as mail_policy
from email.message import EmailMessage
from email.utils import format_datetime
from zoneinfo import ZoneInfo

from config.schema import Settings
from mta.admin.senders.domain_check import read_key_ring
from mta.dkim import KeyRing, Signer
from mta.mail.address import Address
from mta.mail.identity import format_id, new_message_id
from mta.observe.log import get_logger
from mta.queue.dsn import AccountLookup
from mta.queue.internal_mail import InternalMailBuilder, InternalMailKind
from mta.store.queue.enqueue import NewMessage
from mta.store.store import Store
from policy.accounts.account import SERVICE_ACCOUNT
from policy.profile import Handling
from policy.reputation.case_replies import CaseReplies
from policy.reputation.complaint import Case, Clocks, Occasion
from policy.reputation.complaint_mail import ComplaintMail, ComplaintMailWriter, contacts_of, desk_reminder

log = get_logger()


class ComplaintNotifier:
    """Everything the store needs of the configuration to run the deadlines: a ``Desk``. ``open`` makes one."""

    def __init__(
        self,
        settings: Settings,
        profiles: Mapping[str, Handling],
        accounts: AccountLookup,
        ring: KeyRing,
        replies: CaseReplies,
    ) -> None:
        self.settings = settings
        self._profiles, self._accounts, self._ring, self._replies = profiles, accounts, ring, replies
        self._builder = InternalMailBuilder(settings, Signer(settings.signing, ring))
        self._writer = ComplaintMailWriter(ZoneInfo(settings.server.time_zone), self._builder.operator)
        domain = settings.return_path.domain
        self._domain = domain
        self._sender = f"abuse@{domain}" if domain else f"postmaster@{settings.server.hostname}"
        forward = settings.reports.postmaster_forward
        self._desk = Address.parse(forward) if forward else None

    @classmethod
    async def open(cls, settings: Settings, store: Store, profiles: Mapping[str, Handling]) -> ComplaintNotifier:
        """Build one with the current signing keys. Raises ConfigError, StoreUnavailable."""
        ring = await read_key_ring(settings, store)
        return cls(settings, profiles, store.accounts, ring, store.cases.replies)

    async def refresh(self, store: Store) -> None:
        """Read the store's signing keys again. Raises StoreUnavailable."""
        self._ring.replace_stored(await store.dkim_keys.list())

    def clocks(self, profile: str) -> Clocks:
        """Return the deadlines of ``profile``; the defaults if it does not exist any more."""
        if profile not in self._profiles:
            log.warning("default complaint deadlines used", reason=f'there is no profile "{profile}"')
            return Clocks()
        return self._profiles[profile].complaints

    def letter(self, occasion: Occasion, cases: Sequence[Case], now: datetime, remark: str = "") -> NewMessage | None:
        """Return the mail to the account of ``cases``, with our remark; None if it has no contact address."""
        account = self._accounts.by_id(cases[0].account_id)
        if account is None or not (contacts := contacts_of(account)):
            return None
        mail = self._writer.write(occasion, cases, account, remark)
        reply_to = f"{self._replies.local_part(cases[0].id)}@{self._domain}" if self._domain else None
        return self._mail(contacts[0], mail, reply_to)

    def reminder(self, cases: Sequence[Case], now: datetime) -> NewMessage | None:
        """Return the mail to the desk about answers that wait for it; None without ``reports.postmaster_forward``."""
        return self._mail(self._desk, desk_reminder(cases)) if self._desk else None

    def _mail(self, to: Address, mail: ComplaintMail, reply_to: str | None = None) -> NewMessage:
        message_id, sent_at = new_message_id(), datetime.now(UTC)
        number = f"<{format_id(message_id)}@{self._builder.hostname}>"
        return self._builder.build(
            InternalMailKind.COMPLAINT,
            message_id,
            to,
            _compose(mail, self._sender, to, number, sent_at, reply_to),
            sent_at,
            account_id=SERVICE_ACCOUNT,
            smtputf8=not to.is_ascii,
            signing_domain=self._sender.partition("@")[2],
        )


def _compose(
    text: ComplaintMail, sender: str, to: Address, message_id: str, now: datetime, reply_to: str | None
) -> bytes:
    """Compose the mail with its attachments."""
    mail = EmailMessage(mail_policy.SMTP if to.is_ascii else mail_policy.SMTPUTF8)
    mail["From"] = sender
    mail["To"] = str(to)
    if reply_to:
        mail["Reply-To"] = reply_to
    mail["Subject"] = text.subject
    mail["Date"] = format_datetime(now)
    mail["Message-ID"] = message_id
    mail["Auto-Submitted"] = "auto-generated"
    mail.set_content(text.text, cte="quoted-printable")
    for file in text.attachments:
        mail.add_attachment(file.content, maintype="application", subtype=file.subtype, filename=file.name)
    mail["Content-Language"] = text.language.value  # last: content fields move into the first part
    return mail.as_bytes()

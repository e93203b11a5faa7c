"""Send the mail that asks people to confirm a sign-up, and record what they confirmed if that was interrupted.

Limitations: without ``web.public.url`` there is no link to put into it: nothing is sent, and the log says so.
"""

from __future__ import annotations

from datetime import UTC, datetime
from email import policy as mail_policy
from email.message import EmailMessage
from email.utils import format_datetime, formataddr
from zoneinfo import ZoneInfo

from config.schema import Settings
from mta.admin.senders.domain_check import read_key_ring
from mta.dkim import Signer
from mta.mail.address import Address
from mta.mail.identity import format_id, new_message_id
from mta.observe.labels import SignUpResult
from mta.observe.log import get_logger
from mta.observe.metrics import Metrics
from mta.queue.internal_mail import InternalMailBuilder, InternalMailKind
from mta.store.permission.sign_ups import KeptForm, SignUp
from mta.store.queue.enqueue import NewMessage
from mta.store.store import Store
from policy.accounts.account import Account, AccountStatus
from policy.permission.sign_up_mail import ConfirmationRequest, write_request

log = get_logger()

BATCH = 100


async def send_requests(settings: Settings, store: Store, metrics: Metrics) -> None:
    """Queue the mail that is due, and finish what was confirmed. Raises StoreUnavailable, ConfigError."""
    for each in await store.sign_ups.unrecorded(BATCH):
        await store.sign_ups.record(each)
    url = settings.web.public.url
    due = await store.sign_ups.claim(BATCH)
    if not due:
        return
    if url is None:
        log.warning("sign-ups not answered: web.public.url is not set", waiting=len(due))
        return
    signer = Signer(settings.signing, await read_key_ring(settings, store))
    writer = RequestWriter(settings, InternalMailBuilder(settings, signer))
    letters: list[NewMessage] = []
    for sign_up in due:
        form, account = await store.sign_ups.form(sign_up.form_id), store.accounts.by_id(sign_up.account_id)
        if form is None or form.closed_at or account is None or account.status is not AccountStatus.ACTIVE:
            continue
        letters.append(writer.letter(sign_up, form, account, f"{url.rstrip('/')}/c/{store.sign_ups.token(sign_up.id)}"))
    if letters:
        await store.messages.enqueue_all(letters, leased=False)
    await store.sign_ups.sent(due)
    metrics.sign_ups[SignUpResult.SENT].inc(len(letters))


class RequestWriter:
    """Composes the mail."""

    def __init__(self, settings: Settings, builder: InternalMailBuilder) -> None:
        self._zone, self._builder = ZoneInfo(settings.server.time_zone), builder

    def letter(self, sign_up: SignUp, form: KeptForm, account: Account, link: str) -> NewMessage:
        """Return the mail for a request, signed for the domain of the form's sender."""
        asked, sender = sign_up.asked, Address.parse(form.form.sender)
        labels = form.form.labels(asked.language) if asked.language in form.form.statements else {}
        subject, text = write_request(
            ConfirmationRequest(
                language=asked.language,
                page=asked.page,
                topics=[labels.get(topic, topic) for topic in asked.topics],
                statement=asked.statement,
                sponsors=asked.sponsors,
                at=sign_up.at,
                link=link,
                until=sign_up.valid_until,
            ),
            account,
            self._zone,
        )
        message_id, now = new_message_id(), datetime.now(UTC)
        ascii_only = sender.is_ascii and sign_up.address.is_ascii
        mail = EmailMessage(mail_policy.SMTP if ascii_only else mail_policy.SMTPUTF8)
        mail["From"] = formataddr((account.registered_name, str(sender))) if ascii_only else str(sender)
        mail["To"] = str(sign_up.address)
        mail["Subject"] = subject
        mail["Date"] = format_datetime(now)
        mail["Message-ID"] = f"<{format_id(message_id)}@{sender.domain}>"
        mail["Auto-Submitted"] = "auto-generated"
        mail["X-Auto-Response-Suppress"] = "All"
        mail["Content-Language"] = asked.language
        mail.set_content(text, cte="quoted-printable")
        return self._builder.build(
            InternalMailKind.SIGN_UP,
            message_id,
            sign_up.address,
            mail.as_bytes(),
            now,
            account_id=account.id,
            smtputf8=not ascii_only,
            signing_domain=sender.domain,
            sender=sender,
        )

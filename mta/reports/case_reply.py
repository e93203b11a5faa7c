"""An account answers about a complaint case by mail, as our letter asks it to.

It counts as its answer if the mail is proved to be the account's: signed by the domain in its From field, and from the
account's contact, an address of its identity, or one of its verified domains. Whether the answer is good enough,
people judge.

It must never stop a clock for somebody else.

*Limits.* A mail that is not signed stops nothing; people have it all the same, and may write it down (``mta case
answer``).
"""

from __future__ import annotations

from bounce.abuse_mail import AbuseMail
from mta.delivery.mx import Resolver
from mta.mail.address import Address, AddressError
from mta.observe.log import get_logger
from mta.reports import reporters
from mta.store.reputation.cases import CaseError
from mta.store.results.report_queue import Arrived
from mta.store.store import Store
from policy.accounts.account import Account
from policy.reputation.complaint_mail import contacts_of

log = get_logger()


async def take(store: Store, resolver: Resolver, arrived: Arrived, grievance: AbuseMail) -> bool:
    """Whether it was taken as the answer to the case in its subject. Raises StoreUnavailable, DnsError."""
    if grievance.case is None or grievance.sender is None:
        return False
    try:
        account = store.accounts.by_id((await store.cases.show(grievance.case)).case.account_id)
        if account is None or not _speaks_for(grievance.sender, account):
            return False
        if await reporters.proved(arrived.content, resolver, ()) is None:
            return False
        text = grievance.summary or grievance.subject
        await store.cases.answer(grievance.case, text=text, by=grievance.sender, evidence=arrived.content)
    except CaseError as error:
        log.info("a mail about a case changes nothing", reason=str(error))
        return False
    return True


def _speaks_for(sender: str, account: Account) -> bool:
    try:
        address = Address.parse(sender)
    except AddressError:
        return False
    return address.domain in account.domains or address.key in {each.key for each in contacts_of(account)}

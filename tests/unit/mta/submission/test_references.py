"""What of a mailing's confirmed messages still counts."""

from __future__ import annotations

from mta.mail.address import Address
from mta.mail.message import Message
from mta.store.mailings.references import NewReference
from mta.store.store import Store
from mta.submission.references import CompiledReferences
from policy.accounts.mailing import Mailing
from policy.mailing.reference import Matched, Unmatched
from policy.text.message_text import MessageText
from tests.unit.mta.store import make

ANN = Address.parse("ann@example.net")
SHOWN = b"From: shop@shop.example\r\nTo: ann@example.net\r\nSubject: News\r\n\r\nApples, for ann@example.net\r\n"


def message(content: bytes = SHOWN) -> Message:
    template = make.accepted("bob@example.net").message
    theirs = content.replace(b"ann@", b"bob@")
    return template.with_content(theirs)


async def confirmed(store: Store, *contents: bytes) -> Mailing:
    mailing = await store.mailings.add((await store.accounts.add("shop")).id, "june", topic="a", list="b", by="test")
    new = [NewReference(number, content, content) for number, content in enumerate(contents, 1)]
    await store.mailings.confirm(mailing.id, by="A. Baker", terms="1", messages=new)
    return await again(store, mailing)


async def again(store: Store, mailing: Mailing) -> Mailing:
    found = await store.mailings.find(mailing.account_id, mailing.id)
    assert found
    return found


async def test_a_reference_from_which_an_address_was_erased_matches_nothing(store: Store) -> None:
    plain = SHOWN.replace(b"Apples, for ann@example.net", b"Pears").replace(b"ann@", b"joe@")
    mailing = await confirmed(store, SHOWN, plain)
    references = CompiledReferences(store)

    async def compare(sent: Message) -> Matched | Unmatched:
        return await references.compare(await again(store, mailing), sent, MessageText(sent.content))

    assert isinstance(await compare(message()), Matched)
    await store.data_subjects.erase(ANN, by="desk", keep_proof=None)
    ended = await compare(message())
    assert isinstance(ended, Unmatched)
    assert "an address was erased from reference 1" in ended.text
    assert isinstance(await compare(message(plain.replace(b"joe@", b"bob@"))), Matched)
    now = await again(store, mailing)
    assert (now.references, now.redacted) == ((1, 2), (1,))

"""Sign-up forms by page: made, embedded, changed, closed; texts that do not say enough are refused."""

from __future__ import annotations

import pytest

from tests.unit.mta.web.pages.rig import Site

pytestmark = pytest.mark.asyncio(loop_scope="module")

SAYS = "Yes, shop.example may send me its newsletter about offers by e-mail. I can unsubscribe at any time."
GIVEN = {
    "name": "news",
    "sender": "desk@shop.example",
    "version": "1",
    "statements.en": SAYS,
    "topics.en": "offers = Our <b>offers</b>\nevents = Events",
}


async def test_a_form_is_made_changed_and_closed(site: Site) -> None:
    made = await site.shop.submit("/forms", "/forms", **GIVEN)
    at = "/forms/shop/news"
    assert made.url == at, made.words[-1500:]
    assert '<input type="checkbox" name="topic" value="offers"> Our &lt;b&gt;offers' in made.words
    assert "<iframe" in made.words
    assert "Our <b>offers</b>" not in made.text
    assert "news" in (await site.shop.get("/forms")).words
    german = (
        "Ja, shop.example darf mir seinen Newsletter zu Angeboten per E-Mail senden. Ich kann mich jederzeit abmelden."
    )
    more = {"statements.de": german, "topics.de": "offers = Angebote\nevents = Termine", "version": "2"}
    changed = await site.shop.submit(at, at, **{key: value for key, value in GIVEN.items() if key != "name"} | more)
    assert "HTML to copy, in de" in changed.words, changed.words[-1500:]
    (kept,) = await site.store.sign_ups.forms(None, after="", limit=10)
    assert (kept.form.version, set(kept.form.languages)) == ("2", {"en", "de"})
    assert (await site.browsers["club"].get(at)).status == 404
    assert "Links that were sent stay good" in (await site.shop.submit(at, f"{at}/close", reason="moved")).words
    assert "closed" in (await site.shop.get("/forms")).words


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("statements.en", "Click here.", "does not say"),
        ("statements.en", "", "in one language at least"),
        ("topics.en", "offers", "NAME = what people read"),
        ("sender", "desk@elsewhere.example", "elsewhere.example"),
        ("name", "A B", "name"),
    ],
)
async def test_what_is_wrong_is_said_and_what_was_typed_stays(site: Site, field: str, value: str, said: str) -> None:
    page = await site.shop.submit("/forms", "/forms", **GIVEN | {field: value})
    assert page.status == 422
    assert said in page.words
    assert "Our &lt;b&gt;offers" in page.text or field == "topics.en"

"""Sign up with a form, confirm by mail, choose topics: as people, bots and forgers do it, against a real store."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from io import BytesIO
from ipaddress import ip_address
from types import SimpleNamespace
from typing import Any

import pytest
from aiohttp import ClientResponse, ClientSession

from bench.service import free_port
from bounce.abuse_mail import AbuseMailKind
from config.schema import Settings
from config.toml import ConfigError
from mta.admin import sign_up_forms
from mta.admin.context import AdminContext, operator_actor
from mta.admin.errors import InvalidValue, NotFound
from mta.mail.address import Address
from mta.mail.identity import format_id, new_message_id
from mta.observe.labels import SignUpResult
from mta.observe.metrics import Metrics
from mta.service.composition import open_abuse_mail_reader
from mta.service.jobs.sign_ups import send_requests
from mta.store.permission import sign_ups
from mta.store.permission.sign_ups import KeptForm
from mta.store.store import Store
from mta.web import sign_up
from mta.web.public import PublicPages
from mta.web.server import HttpServer, PlainPort
from mta.web.sign_up import FormClock
from policy.accounts.account import AccountStatus, Identity
from policy.permission.consent import Basis
from policy.permission.sign_up_form import SignUpForm
from policy.permission.tokens import Claim, Tokens
from tests.unit.mta.store.make import count

FORM = """
name = "newsletter"
sender = "news@acme.example"
version = "2026-11"
page = "https://www.acme.example/newsletter"
sites = ["https://www.acme.example"]

[statements]
en = "I would like to receive the newsletter of ACME about tools by e-mail. I can unsubscribe at any time."
nl = "Ik wil per e-mail de nieuwsbrief van ACME over gereedschap ontvangen. Ik kan mij altijd afmelden."

[headings]
en = "The ACME newsletter"

[[topics]]
name = "offers"
labels = { en = "Offers", nl = "Aanbiedingen" }

[[topics]]
name = "events"
labels = { en = "Events", nl = "Evenementen" }
"""
IDENTITY = Identity("en", ("ACME Tools Ltd",), "1 High Street", "AB1 2CD", "London", "GB")
ANN = "ann@example.net"
TOKENS = Tokens(bytes(32))
CONFIRM = {"confirm": "sign_up"}


class Site:
    """The public pages in a browser, the operator, and the job that sends mail."""

    def __init__(self, store: Store, url: str) -> None:
        self.settings = Settings.model_validate(
            {
                "server": {"hostname": "mta.example.net"},
                "web": {"public": {"url": "https://mail.example.net", "proxy_from": ["127.0.0.1"]}},
                "return_path": {"domain": "bounces.example.net"},
            }
        )
        self.store, self.metrics = store, Metrics()
        self.context = AdminContext(store, self.settings, lambda: None, operator_actor("tester"))  # type: ignore[arg-type, return-value]
        self.public = PublicPages(store, TOKENS, FormClock(bytes(32)), self.settings, self.metrics)
        self.server, self.http = HttpServer(self.public.app, "web.public"), ClientSession(url)

    async def form(self, text: str = FORM) -> KeptForm:
        form = await sign_up_forms.read_form(self.context, "shop", text, "form.toml")
        return await sign_up_forms.put(self.context, "shop", form)

    async def fill_in(self, form: KeptForm, client: str = "192.0.2.7", **fields: Any) -> ClientResponse:
        """Post the form as it was shown, filled in by a person."""
        headers = {"X-Forwarded-For": client, "Accept-Language": "en", "Referer": "https://www.acme.example/shop?a=1"}
        data = {"language": "en", "address": ANN, "topic": "offers", **fields}
        return await self.http.post(f"/s/{form.id}", data=data, headers=headers)

    async def mail(self) -> list[tuple[str, str]]:
        """What the job sends now: recipient and text, decoded."""
        before = {row["message_id"] for row in await self._rows()}
        await send_requests(self.settings, self.store, self.metrics)
        fresh = [row for row in await self._rows() if row["message_id"] not in before]
        return [(row["address"], row["content"].decode()) for row in fresh]

    async def _rows(self) -> list[Any]:
        async with self.store._database.session() as connection:
            return await connection.fetch(
                "select q.message_id, q.address, c.octets as content from queue q join content c using (message_id)"
            )

    def counted(self, result: SignUpResult) -> float:
        return self.metrics.sign_ups[result].value


@asynccontextmanager
async def open_site(store: Store) -> AsyncIterator[Site]:
    """Serve the public pages, with an account shop that has an identity."""
    await store.accounts.add("shop", domains=["acme.example"], status=AccountStatus.ACTIVE, verified=True)
    shop = await store.accounts.find("shop")
    await store.reviews.set_identity(shop.account.id, IDENTITY, by="tester")
    port = free_port()
    site = Site(store, f"http://127.0.0.1:{port}")
    await site.server.open(PlainPort("127.0.0.1", port))
    yield site
    await site.http.close()
    await site.server.close()


@pytest.fixture
async def site(store: Store) -> AsyncIterator[Site]:
    async with open_site(store) as opened:
        yield opened


def link_in(text: str) -> str:
    found = re.search(r"https://mail\.example\.net(/c/\S+)", text.replace("=\r\n", "").replace("=\n", ""))
    assert found, text
    return found[1]


async def consents(store: Store) -> list[Any]:
    (extract,) = await store.consents.of(Address.parse(ANN)) or [SimpleNamespace(consents=())]
    return list(extract.consents)


async def test_from_the_form_to_the_ledger(site: Site) -> None:
    form = await site.form()
    shown = await (await site.http.get(f"/s/{form.id}?language=nl")).text()
    assert "Aanbiedingen" in shown
    assert "Ik wil per e-mail" in shown
    assert "checked" not in shown
    assert (await site.fill_in(form)).status == 200
    assert await consents(site.store) == []

    ((to, letter),) = await site.mail()
    assert to == ANN
    assert "From: ACME Tools Ltd <news@acme.example>" in letter
    assert "Offers" in letter
    assert "Events" not in letter
    assert "1 High Street" in letter
    assert await site.mail() == [], "one request is one mail"

    link = link_in(letter)
    page = await (await site.http.get(link)).text()
    assert page.count("<button") == 1
    assert await consents(site.store) == [], "scanners follow links"
    assert (await site.http.post(link, data={"x": "y"})).status == 400
    done = await site.http.post(link, data=CONFIRM, headers={"X-Forwarded-For": "192.0.2.8"})
    assert done.status == 200
    (consent,) = await consents(site.store)
    assert (consent.basis, consent.topics, consent.missing) == (Basis.DOUBLE_OPT_IN, {"offers"}, ())
    assert consent.facts["source_host"] == "www.acme.example"

    again = await (await site.http.post(link, data=CONFIRM)).text()
    assert "already confirmed" in again
    assert "already confirmed" in await (await site.http.get(link)).text()
    (extract,) = await site.store.consents.of(Address.parse(ANN))
    (proof,) = extract.proofs
    said = proof.said
    assert said is not None
    assert said["source_url"] == "https://www.acme.example/shop?a=1"
    assert (said["ip"], said["confirm_ip"], said["preticked"]) == ("192.0.2.7", "192.0.2.8", False)
    assert said["statement"].startswith("I would like")
    assert (said["statement_version"], said["language"]) == ("2026-11", "en")


async def test_what_cannot_be_used_is_said_at_its_field(site: Site) -> None:
    form = await site.form()
    for fields, words in (
        ({"address": "ann"}, "complete email address"),
        ({"address": "ann@localhost"}, "complete email address"),
        ({"topic": "nonsense"}, "at least one topic"),
    ):
        answer = await site.fill_in(form, **fields)
        text = await answer.text()
        assert answer.status == 422
        assert words in text
    hostile = await (await site.fill_in(form, address='"><script>alert(1)</script>')).text()
    assert "<script" not in hostile
    assert await count(site.store, "sign_up") == 0
    assert site.counted(SignUpResult.INVALID) == 4


async def test_bots_are_told_what_people_are_told(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    form = await site.form()
    shown = await (await site.http.get(f"/s/{form.id}")).text()
    mark = re.search(r'name="shown" value="([^"]+)"', shown)
    assert mark
    person = await (await site.fill_in(form, address="bob@example.net")).text()
    for fields in ({"website": "https://spam.example"}, {"shown": mark[1]}, {"shown": "A" * 32}):
        assert await (await site.fill_in(form, **fields)).text() == person
    assert await count(site.store, "sign_up") == 1
    monkeypatch.setattr(sign_up, "FASTEST", 0.0)
    await site.fill_in(form, shown=mark[1])
    assert await count(site.store, "sign_up") == 2
    assert site.counted(SignUpResult.BOT) == 3


async def test_nobody_can_have_others_flooded_with_mail(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    form = await site.form()
    other = await site.form(FORM.replace('"newsletter"', '"second"', 1))
    answers = [await (await site.fill_in(form, client=f"192.0.2.{n}")).text() for n in range(sign_ups.PER_DAY + 2)]
    assert len(set(answers)) == 1
    assert len(await site.mail()) == sign_ups.PER_DAY
    for n in range(sign_ups.PER_ADDRESS):
        await site.fill_in(other, client=f"198.51.100.{n}")
    assert len(await site.mail()) == sign_ups.PER_ADDRESS - sign_ups.PER_DAY
    monkeypatch.setattr(sign_ups, "PER_NETWORK", 2)
    for n in range(4):
        await site.fill_in(form, client=f"2001:db8::{n}", address=f"reader{n}@example.net")
    assert len(await site.mail()) == 2
    assert site.counted(SignUpResult.LIMITED) == 2 + 3 + 2


async def test_old_closed_and_damaged(site: Site) -> None:
    form = await site.form()
    await site.fill_in(form)
    ((_, letter),) = await site.mail()
    link = link_in(letter)
    assert (await site.http.get(link[:-3])).status == 404
    assert (await site.http.get(link[:-3] + ("AAA" if link[-3:] != "AAA" else "BBB"))).status == 404
    async with site.store._database.session() as connection:
        await connection.execute("update sign_up set at = at - interval '4 days'")
    for answer in (await site.http.get(link), await site.http.post(link, data=CONFIRM)):
        assert (answer.status, "no longer valid" in await answer.text()) == (410, True)
    assert await consents(site.store) == []

    await site.fill_in(form, address="bob@example.net")
    await sign_up_forms.close(site.context, "shop", "newsletter", reason="moved")
    assert (await site.http.get(f"/s/{form.id}")).status == 410
    assert (await site.fill_in(form)).status == 410
    assert await site.mail() == []
    assert (await site.http.get("/s/unknown")).status == 404
    with pytest.raises(NotFound):
        await sign_up_forms.close(site.context, "shop", "newsletter")


async def test_what_was_confirmed_is_recorded_even_if_we_died(site: Site) -> None:
    form = await site.form()
    await site.fill_in(form)
    ((_, letter),) = await site.mail()
    id_ = site.store.sign_ups.id_of(link_in(letter).rpartition("/")[2])
    assert id_ is not None
    await site.store.sign_ups.confirm(id_, ip_address("192.0.2.9"))
    async with site.store._database.session() as connection:
        await connection.execute("update sign_up set confirmed_at = now() - interval '2 minutes'")
    await send_requests(site.settings, site.store, site.metrics)
    (consent,) = await consents(site.store)
    assert consent.missing == ()
    await send_requests(site.settings, site.store, site.metrics)
    assert await count(site.store, "consent_entry") == 1


async def test_a_new_consent_ends_an_older_withdrawal(site: Site) -> None:
    form = await site.form()
    key = site.store.sign_ups._secrets.address_key(Address.parse(ANN))
    token = TOKENS.make(Claim("u", 1, key, "", "offers"))
    await site.http.post(f"/u/{token}", data={"List-Unsubscribe": "One-Click"})
    assert await count(site.store, "suppression") == 1
    await site.fill_in(form)
    ((_, letter),) = await site.mail()
    await site.http.post(link_in(letter), data=CONFIRM)
    assert await count(site.store, "suppression") == 0


async def test_a_form_may_stand_in_frames_of_its_sites_only(site: Site) -> None:
    form = await site.form()
    answer = await site.http.get(f"/s/{form.id}")
    assert "frame-ancestors https://www.acme.example;" in answer.headers["Content-Security-Policy"]
    unsubscribe = await site.http.get("/u/x")
    assert "frame-ancestors 'none'" in unsubscribe.headers["Content-Security-Policy"]
    html = sign_up_forms.embedding(site.context, form, "nl")
    assert f'action="https://mail.example.net/s/{form.id}"' in html
    assert "checked" not in html
    assert "Aanbiedingen" in html
    with pytest.raises(InvalidValue, match="it has: en, nl"):
        sign_up_forms.embedding(site.context, form, "fr")


@pytest.mark.parametrize(
    ("old", "new", "line", "words"),
    [
        ("news@acme.example", "news@other.example", 3, "no verified domain of the account; verified: acme.example"),
        (
            "I would like to receive the newsletter of ACME about tools by e-mail",
            "OK",
            9,
            "does not say that mail comes",
        ),
        ('"events"', '"offers"', 20, "stands here twice"),
        (', nl = "Evenementen"', "", 21, "no label in 'nl'"),
        ("https://www.acme.example/newsletter", "http://localhost/x", 5, "https://HOST/PATH"),
        ('sites = ["https://www.acme.example"]', 'sites = ["https://www.acme.example/a"]', 6, "without a path"),
        ('nl = "Ik', 'xx = "Ik', 10, "not one of the languages"),
        ('version = "2026-11"', "", 1, "version"),
    ],
)
async def test_mistakes_are_named_with_their_line(site: Site, old: str, new: str, line: int, words: str) -> None:
    assert old in FORM
    with pytest.raises(ConfigError) as raised:
        await sign_up_forms.read_form(site.context, "shop", FORM.replace(old, new, 1), "form.toml")
    said = [each for each in raised.value.lines if words in each]
    assert said, raised.value.lines
    if line > 1:
        assert said[0].startswith(f"form.toml:{line}:")


async def test_a_co_registration_names_its_sponsors(site: Site) -> None:
    text = FORM.replace("[statements]", 'sponsors = ["ACME Tools Ltd", "Tools Weekly"]\n[statements]', 1)
    text = text.replace("the newsletter of ACME", "the newsletter of ACME Tools Ltd")
    text = text.replace("van ACME over", "van ACME Tools Ltd over")
    form = await site.form(text)
    assert "Tools Weekly" in await (await site.http.get(f"/s/{form.id}")).text()
    await site.fill_in(form)
    ((_, letter),) = await site.mail()
    assert "Tools Weekly" in letter
    await site.http.post(link_in(letter), data=CONFIRM)
    (consent,) = await consents(site.store)
    assert (consent.basis, consent.missing) == (Basis.CO_REGISTRATION, ())


async def test_topics_can_be_chosen_and_only_taken_away(site: Site) -> None:
    form = await site.form()
    await site.http.post(
        f"/s/{form.id}", data=[("language", "en"), ("address", ANN), ("topic", "offers"), ("topic", "events")]
    )
    ((_, letter),) = await site.mail()
    await site.http.post(link_in(letter), data=CONFIRM)
    key = site.store.sign_ups._secrets.address_key(Address.parse(ANN))
    link = f"/u/{TOKENS.make(Claim('u', 1, key, '', 'offers'))}"
    assert 'href="?choose"' in await (await site.http.get(link)).text()
    page = await (await site.http.get(f"{link}?choose")).text()
    assert re.findall(r'name="keep" value="(\w+)" checked', page) == ["events", "offers"]
    assert (await site.http.post(f"{link}?choose", data={"keep": "events"})).status == 400
    saved = await site.http.post(f"{link}?choose", data={"keep": "events", "save": "topics"})
    assert "has been saved" in await saved.text()
    page = await (await site.http.get(f"{link}?choose")).text()
    assert re.findall(r'name="keep" value="(\w+)" checked', page) == ["events"]
    await site.http.post(f"{link}?choose", data=[("keep", "events"), ("keep", "offers"), ("save", "topics")])
    in_force = [each for each in await consents(site.store) if each.revoked_at is None]
    assert [each.topics for each in in_force] == [{"events"}], "a choice gives nothing back"
    await site.http.post(f"{link}?choose", data={"keep": "events", "save": "none"})
    assert all(each.revoked_at for each in await consents(site.store))


async def test_requests_are_part_of_what_is_known_of_a_person_and_go_with_it(site: Site) -> None:
    form = await site.form()
    await site.fill_in(form)
    known = await site.store.data_subjects.find(Address.parse(ANN))
    (asked,) = known.sign_ups
    assert asked["asked"]["topics"] == ["offers"]
    await site.store.data_subjects.erase(Address.parse(ANN), by="tester", keep_proof=None)
    assert await count(site.store, "sign_up") == 0
    await site.fill_in(form, address="bob@example.net")
    async with site.store._database.session() as connection:
        await connection.execute("update sign_up set at = $1", datetime(2026, 1, 1, tzinfo=UTC))
    await site.store.data_subjects.forget(site.settings.retention)
    assert await count(site.store, "sign_up") == 0


async def test_who_understands_none_of_its_languages_is_shown_the_first(site: Site) -> None:
    """The order of the file, which is not the order of the alphabet."""
    english = next(line for line in FORM.splitlines(keepends=True) if line.startswith("en = "))
    form = await site.form(FORM.replace(english, "", 1).replace("[headings]", english + "[headings]", 1))
    assert form.form.languages == ("nl", "en")
    page = await site.http.get(f"/s/{form.id}", headers={"Accept-Language": "fi"})
    assert '<html lang="nl"' in await page.text()


async def test_a_changed_form_changes_no_request(site: Site) -> None:
    form = await site.form()
    await site.fill_in(form)
    changed = SignUpForm.model_validate({**form.form.model_dump(), "version": "2027-01"})
    assert (await sign_up_forms.put(site.context, "shop", changed)).id == form.id
    ((_, letter),) = await site.mail()
    await site.http.post(link_in(letter), data=CONFIRM)
    (extract,) = await site.store.consents.of(Address.parse(ANN))
    said = extract.proofs[0].said
    assert said is not None
    assert said["statement_version"] == "2026-11"


class TestAbuseForm:
    async def test_a_complaint_becomes_mail_for_the_desk(self, site: Site) -> None:
        page = await (await site.http.get("/abuse?mailing=m-1")).text()
        assert 'value="m-1"' in page
        message = b"From: shop@acme.example\nSubject: Offers\n\nBuy \xff now\n"
        fields: dict[str, Any] = {
            "address": ANN,
            "mailing": "m-1",
            "said": "I never asked\nfor this",
            "message": BytesIO(message),
        }
        answer = await site.http.post("/abuse", data=fields, headers={"X-Forwarded-For": "192.0.2.7"})
        assert (answer.status, "Thank you" in await answer.text()) == (200, True)
        (report,) = await site.store.report_queue.claim(10)
        assert (str(report.sender), str(report.client)) == (ANN, "192.0.2.7")
        assert [str(to) for to in report.recipients] == ["abuse@bounces.example.net"]
        assert b"X-MTA-Mailing: m-1" in report.content
        assert b"for this" in report.content
        assert b"Buy \xff now" in report.content

    async def test_what_is_missing_is_said_and_bots_are_dropped(self, site: Site) -> None:
        assert (await site.http.post("/abuse", data={"address": "ann", "said": "x"})).status == 422
        assert (await site.http.post("/abuse", data={"address": ANN})).status == 422
        assert (await site.http.post("/abuse", data={"address": ANN, "said": "x", "website": "y"})).status == 200
        injected = {"address": ANN, "mailing": "m\r\nBcc: all@example.net", "said": "x"}
        assert (await site.http.post("/abuse", data=injected)).status == 200
        (report,) = await site.store.report_queue.claim(10)
        assert b"\r\nBcc" not in report.content
        assert (await site.http.post("/abuse", data={"address": ANN, "said": "x" * 3_000_000})).status == 400

    @pytest.mark.parametrize("language", ["en", "nl", "de", "fr", "es"])
    async def test_it_is_read_as_a_complaint_about_the_mailing(self, site: Site, language: str) -> None:
        mailing = format_id(new_message_id())
        fields = {"address": ANN, "mailing": mailing, "said": ""}
        await site.http.post("/abuse", data=fields, headers={"Accept-Language": language})
        (report,) = await site.store.report_queue.claim(10)
        read = open_abuse_mail_reader().read(report.content, datetime.now(UTC))
        assert (read.kind, read.language) == (AbuseMailKind.COMPLAINT, language)
        assert read.mailings == (mailing,)
        assert read.sender == ANN

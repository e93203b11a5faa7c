"""``/s/FORM`` and ``/c/TOKEN``: sign up with a form, and confirm it by the link in the mail that follows.

    GET  /s/FORM    the form; ?language=nl, else by Accept-Language
    POST /s/FORM    keeps the request, and says that mail is on its way, whoever the address belongs to
    GET  /c/TOKEN   the page with the button, or why there is none
    POST /c/TOKEN   confirms; can be repeated

A form can stand in a frame on the sites that it names, or be copied into their pages as HTML and post here.

Invariants: GET changes nothing. The answer never tells whether an address is known, suppressed or above a limit. What
the visitor did not tick is not asked for. Bots that fill in the hidden field, or answer faster than a person, are told
what people are told, and nothing is kept.
Limitations: a bot that waits, and leaves the hidden field alone, is stopped by the limits only.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from mta.mail.address import Address, AddressError
from mta.observe.labels import SignUpResult
from mta.observe.metrics import Metrics
from mta.store.permission.sign_ups import Asked, KeptForm, SignUp, SignUps
from mta.web.clients import ClientOf
from mta.web.forms import FormFields, read_form
from mta.web.recipient_pages import CONFIRM_SIGN_UP, LANGUAGES, AccountById, Page, Pages, choose_language, subject_of
from policy.languages import TextLanguage
from policy.local_format import LocalFormat
from policy.permission.sign_up_form import SignUpForm, origin_of

FASTEST = 2.0  # seconds that a person needs to fill in the form
LONGEST = 86_400.0  # seconds for which the form stays open in a browser
TRAP = "website"  # the field that people do not see

_TAG = 16  # octets


@dataclass(frozen=True, slots=True)
class Filled:
    """What was sent. ``wrong``: the fields that cannot be used."""

    address: Address | None
    text: str
    topics: tuple[str, ...]
    wrong: tuple[str, ...]


class FormClock:
    """Says when a form was shown, so that the visitor cannot change it."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def mark(self, form: str, now: float | None = None) -> str:
        """Return the mark for a form that is shown now."""
        at = int(time.time() if now is None else now).to_bytes(8)
        return base64.urlsafe_b64encode(at + self._tag(form, at)).decode()

    def age(self, form: str, mark: str) -> float | None:
        """Return the seconds since the form was shown; None if we have not made the mark."""
        try:
            octets = base64.b64decode(mark, altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            return None
        at, tag = octets[:8], octets[8:]
        return time.time() - int.from_bytes(at) if hmac.compare_digest(tag, self._tag(form, at)) else None

    def _tag(self, form: str, at: bytes) -> bytes:
        return hashlib.blake2b(form.encode() + at, digest_size=_TAG, key=self._key).digest()


class SignUpHandlers:
    """The request handlers. ``url``: of the public pages, as people reach them."""

    def __init__(
        self,
        sign_ups: SignUps,
        account_by_id: AccountById,
        clock: FormClock,
        client_of: ClientOf,
        pages: Pages,
        metrics: Metrics,
        url: str | None,
    ) -> None:
        self._sign_ups, self._account_by_id, self._clock = sign_ups, account_by_id, clock
        self._client_of, self._pages, self._metrics, self.url = client_of, pages, metrics, url

    def routes(self) -> list[Route]:
        return [
            Route("/s/{form}", self.show, methods=["GET"]),
            Route("/s/{form}", self.take, methods=["POST"]),
            Route("/c/{token}", self.ask_again, methods=["GET"]),
            Route("/c/{token}", self.confirm, methods=["POST"]),
        ]

    async def show(self, request: Request) -> Response:
        """Return the form. Raises StoreUnavailable. Handles HEAD too."""
        form = await self._sign_ups.form(request.path_params["form"])
        if form is None:
            return self._pages.respond(Page.NOT_FOUND, _accepted(request))
        language = _language(form.form, request.query_params.get("language", ""), request)
        if form.closed_at:
            return self._pages.respond(Page.SIGN_UP_CLOSED, language, sites=form.form.sites)
        return self._form_page(form, language)

    async def take(self, request: Request) -> Response:
        """Keep a request. Raises StoreUnavailable."""
        form = await self._sign_ups.form(request.path_params["form"])
        if form is None:
            return self._pages.respond(Page.NOT_FOUND, _accepted(request))
        fields = read_form(request.headers.get("content-type", ""), await request.body())
        language = _language(form.form, _first(fields, "language"), request)
        if form.closed_at:
            return self._pages.respond(Page.SIGN_UP_CLOSED, language, sites=form.form.sites)
        filled = _read(form.form, fields)
        if filled.wrong or filled.address is None:
            self._metrics.sign_ups[SignUpResult.INVALID].inc()
            return self._form_page(form, language, filled)
        if self._is_bot(form, fields):
            self._metrics.sign_ups[SignUpResult.BOT].inc()
        else:
            asked = _asked(form.form, filled.topics, language, self._place(form, request.headers), request)
            limit = await self._sign_ups.ask(form, filled.address, self._client_of(request), asked)
            self._metrics.sign_ups[SignUpResult.LIMITED if limit else SignUpResult.ASKED].inc()
        return self._pages.respond(Page.SIGN_UP_SENT, language, sites=form.form.sites)

    async def ask_again(self, request: Request) -> Response:
        """Return the page with the button, or why the link cannot be used. Raises StoreUnavailable."""
        found = await self._read(request)
        if isinstance(found, Response):
            return found
        if found.confirmed_at:
            return self._answer(Page.SIGN_UP_AGAIN, found, request)
        return self._answer(Page.SIGN_UP_CONFIRM, found, request)

    async def confirm(self, request: Request) -> Response:
        """Confirm and record. Raises StoreUnavailable; the link can then be used again."""
        fields = read_form(request.headers.get("content-type", ""), await request.body())
        if CONFIRM_SIGN_UP not in fields:
            return self._pages.respond(Page.INVALID, _accepted(request))
        found = await self._read(request)
        if isinstance(found, Response):
            return found
        confirmed = await self._sign_ups.confirm(found.id, self._client_of(request))
        if confirmed is None:
            return self._answer(Page.SIGN_UP_EXPIRED, found, request)
        if confirmed.recorded_at:
            return self._answer(Page.SIGN_UP_AGAIN, found, request)
        await self._sign_ups.record(confirmed)
        self._metrics.sign_ups[SignUpResult.CONFIRMED].inc()
        return self._answer(Page.SIGN_UP_DONE, found, request)

    async def _read(self, request: Request) -> SignUp | Response:
        id_ = self._sign_ups.id_of(request.path_params["token"])
        if id_ is None:
            return self._pages.respond(Page.DAMAGED, _accepted(request))
        found = await self._sign_ups.read(id_)
        if found is None or (found.confirmed_at is None and found.valid_until.timestamp() < time.time()):
            self._metrics.sign_ups[SignUpResult.EXPIRED].inc()
            return self._pages.respond(Page.SIGN_UP_EXPIRED, _accepted(request))
        return found

    def _answer(self, page: Page, found: SignUp, request: Request) -> Response:
        about = subject_of(self._account_by_id, found.account_id, ", ".join(found.asked.topics))
        return self._pages.respond(page, f"{found.asked.language}, {_accepted(request)}", about=about)

    def _form_page(self, form: KeptForm, language: str, filled: Filled | None = None) -> Response:
        words = self._pages.texts(language).sign_up
        local = LocalFormat(TextLanguage(language), UTC)
        return self._pages.show(
            "sign_up",
            language,
            422 if filled else 200,
            sites=form.form.sites,
            title=form.form.headings.get(language, words.heading),
            words=words,
            action=f"/s/{form.id}",
            shown=self._clock.mark(form.id),
            address=filled.text if filled else "",
            topics=list(form.form.labels(language).items()),
            chosen=filled.topics if filled else (),
            sponsors=local.join(form.form.sponsors),
            statement=form.form.statements[language].splitlines(),
            wrong=filled.wrong if filled else (),
        )

    def _is_bot(self, form: KeptForm, fields: FormFields) -> bool:
        """Return whether the hidden field was filled in, or the form was answered faster than a person can."""
        if _first(fields, TRAP):
            return True
        if not (mark := _first(fields, "shown")):
            return False  # copied into a page of the owner
        age = self._clock.age(form.id, mark)
        return age is None or not FASTEST <= age <= LONGEST

    def _place(self, form: KeptForm, headers: Headers) -> str:
        """Return where the form was: the page that the browser names, if it is one of the form's sites."""
        ours = f"{(self.url or '').rstrip('/')}/s/{form.id}"
        named = headers.get("referer", "")
        if named.isprintable() and len(named) <= 500 and origin_of(named) in form.form.sites:
            return named
        return form.form.page or ours


def _read(form: SignUpForm, fields: FormFields) -> Filled:
    """Read what was sent; topics that the form does not have are passed over."""
    text = _first(fields, "address")[:254]
    try:
        address = Address.parse(text)
    except AddressError:
        address = None
    if address and "." not in address.domain:
        address = None
    sent = {value for name, value in fields if name == "topic"}
    topics = tuple(topic.name for topic in form.topics if topic.name in sent)
    wrong = [name for name, value in (("address", address), ("topics", topics)) if not value]
    return Filled(address, text, topics, tuple(wrong))


def _asked(form: SignUpForm, topics: Sequence[str], language: str, page: str, request: Request) -> Asked:
    return Asked(
        tuple(topics),
        language,
        form.statements[language],
        form.version,
        tuple(form.sponsors),
        page,
        request.headers.get("user-agent", ""),
    )


def _first(fields: FormFields, name: str) -> str:
    return next((value for key, value in fields if key == name), "")


def _accepted(request: Request) -> str:
    return request.headers.get("accept-language", "")


def _language(form: SignUpForm, wanted: str, request: Request) -> str:
    """Return one of the form's languages: the wanted one, else the one that the browser prefers."""
    known = [each for each in form.languages if each in LANGUAGES]
    return wanted if wanted in known else choose_language(_accepted(request), known)

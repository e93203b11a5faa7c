"""``/abuse``: complain about a mailing, by its number or with the message itself.

What is sent becomes a mail to ``abuse@`` of the return path domain, and is processed like every other complaint
(``mta.reports``): attributed, put to the account, answered with a receipt.

Invariants: GET changes nothing. What bots send is answered like what people send, and dropped.
Limitations: as with mail, the address of the writer is not proved; what follows from an unproved complaint is in
docs/decisions/0025. Without a return path domain there is no form.
"""

from __future__ import annotations

import secrets as random
from datetime import UTC, datetime
from email.header import Header
from email.utils import format_datetime, make_msgid

from starlette.datastructures import FormData, UploadFile
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from mta.mail.address import Address, AddressError
from mta.store.results.report_queue import ReportQueue
from mta.web.clients import ClientOf
from mta.web.recipient_pages import LANGUAGES, Page, Pages, choose_language
from mta.web.sign_up import TRAP

MAX_BODY = 2_000_000  # octets of a form with a message
MAX_SAID, MAX_LINE = 4000, 254  # characters


class AbuseFormHandlers:
    """The request handlers. ``domain``: whose abuse mailbox gets the complaints."""

    def __init__(self, queue: ReportQueue, client_of: ClientOf, pages: Pages, domain: str | None) -> None:
        self._queue, self._client_of, self._pages, self.domain = queue, client_of, pages, domain

    def routes(self) -> list[Route]:
        return [Route("/abuse", self.show, methods=["GET"]), Route("/abuse", self.take, methods=["POST"])]

    async def show(self, request: Request) -> Response:
        """Return the form; ``?mailing=`` fills in its number. Handles HEAD too."""
        if self.domain is None:
            return self._pages.respond(Page.NOT_FOUND, _accepted(request))
        return self._form(request, {"mailing": request.query_params.get("mailing", "")[:MAX_LINE]})

    async def take(self, request: Request) -> Response:
        """Queue the complaint. Raises StoreUnavailable."""
        if self.domain is None:
            return self._pages.respond(Page.NOT_FOUND, _accepted(request))
        async with request.form(max_files=1, max_fields=10, max_part_size=MAX_BODY) as form:
            values = {name: _text(form, name) for name in ("address", "mailing", "said", TRAP)}
            upload = form.get("message")
            message = await upload.read() if isinstance(upload, UploadFile) else _text(form, "message").encode()
        try:
            writer = Address.parse(values["address"].strip())
        except AddressError:
            return self._form(request, values, "address")
        if not (values["mailing"].strip() or values["said"].strip() or message):
            return self._form(request, values, "empty")
        if not values[TRAP]:
            words = self._pages.texts(choose_language(_accepted(request), LANGUAGES)).abuse_form
            mail = _mail(
                writer, f"abuse@{self.domain}", words.subject, values["mailing"].strip(), values["said"], message
            )
            to = [Address.parse(f"abuse@{self.domain}")]
            await self._queue.put(writer, to, self._client_of(request), "abuse form", mail)
        return self._pages.respond(Page.ABUSE_SENT, _accepted(request))

    def _form(self, request: Request, values: dict[str, str], *wrong: str) -> Response:
        language = choose_language(_accepted(request), LANGUAGES)
        words = self._pages.texts(language).abuse_form
        filled = {name: values.get(name, "") for name in ("address", "mailing", "said")}
        return self._pages.show(
            "abuse",
            language,
            422 if wrong else 200,
            title=words.heading,
            words=words,
            values=filled,
            wrong=wrong,
        )


def _text(form: FormData, name: str) -> str:
    value = form.get(name)
    return value[:MAX_SAID] if isinstance(value, str) else ""


def _mail(writer: Address, to: str, subject: str, mailing: str, said: str, message: bytes) -> bytes:
    """Return the complaint as mail, with the message attached as it was handed in. ``subject``: says in the writer's
    language that it is a complaint."""
    boundary = random.token_hex(16)
    head = (
        f"From: <{writer}>\r\nTo: <{to}>\r\nSubject: {Header(subject, 'utf-8').encode()}\r\n"
        f"Date: {format_datetime(datetime.now(UTC))}\r\n"
        f"Message-ID: {make_msgid(domain=to.partition('@')[2])}\r\nMIME-Version: 1.0\r\n"
        f'Content-Type: multipart/mixed; boundary="{boundary}"\r\n'
    )
    lines = [f"X-MTA-Mailing: {_line(mailing)}", ""] if mailing else []
    text = "\r\n".join([*lines, *said.splitlines()])
    parts = [b"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n" + text.encode()]
    if message:
        whole = message.replace(b"\r\n", b"\n").replace(b"\r", b"\n").replace(b"\0", b"").replace(b"\n", b"\r\n")
        parts.append(b"Content-Type: message/rfc822\r\n\r\n" + whole)
    mark = b"\r\n--" + boundary.encode()
    return head.encode() + b"".join(mark + b"\r\n" + part for part in parts) + mark + b"--\r\n"


def _line(text: str) -> str:
    return "".join(each for each in text[:MAX_LINE] if each.isprintable())


def _accepted(request: Request) -> str:
    return request.headers.get("accept-language", "")

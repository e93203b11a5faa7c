"""Test a message: would it be accepted, held or refused, and how would its recipient get it? Nothing is sent."""

from __future__ import annotations

from mta.admin import messages
from mta.admin.errors import InvalidValue
from mta.admin.files.message_file import message_of, with_crlf
from mta.admin.senders import accounts
from mta.submission.lint import Linted
from mta.web.pages.frame import Answer, PageRequest, PageRoutes, PageView
from mta.web.pages.message_pages import VERDICTS
from policy.text.message_text import MessageText

routes = PageRoutes()

MAX_MESSAGE = 5 * 1024 * 1024  # octets
SHOWN = 200_000  # octets of the source


@routes.get("/test/message", "messages:read")
async def form(page: PageRequest) -> PageView:
    """Show the form."""
    return await _view(page, None)


async def _view(page: PageRequest, found: Linted | None) -> PageView:
    known = await accounts.list_all(page.context)
    values = {
        "accounts": [(each.account.name, each.account.name) for each in known],
        "found": found,
        "findings": [(each, VERDICTS.get(each.verdict, "ok")) for each in found.findings] if found else [],
        "text": MessageText(found.outgoing).visible[:20_000] if found and found.outgoing else "",
        "source": found.outgoing[:SHOWN].decode("utf-8", "replace") if found else "",
    }
    return PageView("test_message.html", "Test a message", values)


@routes.post("/test/message", "messages:read", again=form, upload=MAX_MESSAGE + 256 * 1024)
async def judge(page: PageRequest) -> Answer:
    """Judge a message as if the account submitted it now. Changes nothing: a form only because messages are long."""
    account = page.text("account") if page.is_operator else page.context.actor.account or ""
    upload = page.upload("file")
    if upload is not None:
        content, name = await upload.read(MAX_MESSAGE + 1), upload.filename or "message"
    else:
        content, name = str(page.form.get("text", "")).strip().encode(), "message"
    if not content:
        raise InvalidValue("text", "paste a message with its headers, or choose a file")
    if len(content) > MAX_MESSAGE:
        raise InvalidValue("file", f"at most {MAX_MESSAGE // 1024 // 1024} MB")
    recipient, sender = page.text("recipient"), page.text("sender") or None
    file = message_of(name, with_crlf(content), [recipient] if recipient else [], sender)
    return await _view(page, await messages.lint(page.context, account, file))

"""Test a bounce: how would it be read? Nothing is recorded, and nothing is sent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from email import message_from_bytes

from bounce.classify import Classifier
from bounce.parsers.report_kinds import Report
from bounce.report import read
from bounce.rules import RuleBook, load_rules
from mta.admin.errors import InvalidValue
from mta.mail.delivery import Classification, Stage
from mta.mail.reply import Reply
from mta.web.pages.frame import Answer, PageRequest, PageRoutes, PageView

routes = PageRoutes()

MAX_MAIL = 2 * 1024 * 1024  # octets of an uploaded mail
STAGES = [(each.value, each.value.replace("_", " ")) for each in Stage]
MAX_REPLIES = 50


@dataclass(frozen=True, slots=True)
class ReadReply:
    """What a reply means. ``meaning``: of its category; ``others``: rules that fit too, but came later."""

    text: str
    found: Classification
    meaning: str
    reason: str
    others: Sequence[Classification]


@routes.get("/test/bounce", "messages:read")
async def bounce(page: PageRequest) -> PageView:
    """Show the form, and what was read."""
    return _view(page, (), None)


def _view(page: PageRequest, replies: Sequence[ReadReply], report: Report | None) -> PageView:
    parts = []
    for each in report.recipients if report else ():
        found = each.classification
        category = _book(page).categories.get(found.category) if found else None
        parts.append({"part": each, "found": found, "meaning": category.meaning if category else ""})
    values = {"stages": STAGES, "replies": replies, "report": report, "parts": parts}
    return PageView("test_bounce.html", "Test a bounce", values)


def _book(page: PageRequest) -> RuleBook:
    return load_rules(page.context.settings.bounces.rules)


@routes.post("/test/bounce", "messages:read", again=bounce, upload=MAX_MAIL + 64 * 1024)
async def read_bounce(page: PageRequest) -> Answer:
    """Read replies, or a bounce message, as the service would. Changes nothing: a form only because mails are long."""
    book = _book(page)
    classifier = Classifier(book)
    upload = page.upload("mail")
    pasted = page.text("replies")
    if upload is not None:
        content = await upload.read(MAX_MAIL + 1)
        if len(content) > MAX_MAIL:
            raise InvalidValue("mail", f"at most {MAX_MAIL // 1024 // 1024} MB")
        return _view(page, (), read(content, classifier, None, ()))
    if not pasted:
        raise InvalidValue("replies", "paste a reply, such as 550 5.1.1 no such user, or a whole bounce message")
    if _is_mail(pasted):
        return _view(page, (), read(pasted.replace("\n", "\r\n").encode(), classifier, None, ()))
    stage, host = page.choice("stage", Stage), page.text("host") or None
    found = []
    for line in [each.strip() for each in pasted.splitlines() if each.strip()][:MAX_REPLIES]:
        try:
            reply = Reply.read(line)
        except ValueError as error:
            raise InvalidValue("replies", f"{line[:60]!r}: {error}") from None
        first = classifier.classify(reply, stage, host)
        category = book.categories.get(first.category)
        reason = next((rule.reason for rule in book.rules if rule.id == first.rule), "")
        others = classifier.explain(reply, stage, host)[1:]
        found.append(ReadReply(line, first, category.meaning if category else "", reason or "", others))
    return _view(page, found, None)


def _is_mail(text: str) -> bool:
    """Return whether a text begins with header fields."""
    return not text[:3].isdigit() and bool(message_from_bytes(text[:4000].encode()).keys())

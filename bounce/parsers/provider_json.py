"""Notifications of Amazon SES, which come as JSON by way of SNS.

It must never read more JSON than MAX_JSON characters.

*Limits.* Only what SES calls Bounce, Complaint and Delivery; the signature of SNS is not checked.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from bounce.parsers.free_text import MAX_ORIGINAL, address_of
from bounce.parsers.kinds import Feedback, Original, Report, Reported, ReportedAction, ReportKind
from bounce.parsers.mime import Mail, read_fields
from bounce.parsers.replies import reply_of, stage_of, status_of

MAX_JSON = 60_000


def read_json(mail: Mail) -> Report | None:
    """What the notification in ``mail`` says; None if there is none."""
    part = mail.first("text/plain", "application/json")
    text = part.text.strip()[:MAX_JSON] if part else ""
    if not text.startswith("{") or '"' not in text:
        return None
    data = _object(text)
    if isinstance(data.get("Message"), str):
        data = _object(data["Message"])
    match data.get("notificationType") or data.get("eventType"):
        case "Bounce":
            return replace(_bounce(_inside(data, "bounce")), original=_original(data))
        case "Complaint":
            return replace(_complaint(_inside(data, "complaint")), original=_original(data))
        case "Delivery":
            addresses = _inside(data, "delivery").get("recipients")
            each = [address_of(str(one)) for one in addresses] if isinstance(addresses, list) else []
            return Report(
                ReportKind.RECEIPT, "ses", tuple(Reported(ReportedAction.DELIVERED, one, one, "2.0.0") for one in each)
            )
        case _:
            return None


def _bounce(data: dict[str, Any]) -> Report:
    failed = data.get("bounceType") != "Transient" or data.get("bounceSubType") != "General"
    parts = []
    for one in _each(data, "bouncedRecipients"):
        words = str(one.get("diagnosticCode") or "")
        words = words.partition(";")[2].strip() if words.lower().startswith("smtp;") else words
        status = str(one.get("status") or "")
        action = str(one.get("action") or ("failed" if failed else "delayed"))
        reply = reply_of(words, status, action == "failed")
        address = address_of(str(one.get("emailAddress") or ""))
        fate = ReportedAction.DELAYED if action == "delayed" else ReportedAction.FAILED
        host = str(data.get("remoteMtaIp") or "") or None
        parts.append(Reported(fate, address, address, status_of(reply, status), reply, words, stage_of((words,)), host))
    return Report(ReportKind.BOUNCE, "ses", tuple(parts), reporter=str(data.get("reportingMTA") or "") or None)


def _complaint(data: dict[str, Any]) -> Report:
    kind = str(data.get("complaintFeedbackType") or "abuse")
    feedback = next((one for one in Feedback if one.value == kind), Feedback.OTHER)
    found = [address_of(str(one.get("emailAddress") or "")) for one in _each(data, "complainedRecipients")]
    fate = ReportedAction.COMPLAINED if feedback.is_complaint else ReportedAction.NOTED
    return Report(
        ReportKind.COMPLAINT if feedback.is_complaint else ReportKind.OTHER,
        "ses",
        tuple(Reported(fate, address, address) for address in found),
        feedback=feedback,
    )


def _original(data: dict[str, Any]) -> Original:
    """The header of the message, where the notification was set to hold it."""
    headers = _each(_inside(data, "mail"), "headers")
    lines = [f"{one.get('name')}: {' '.join(str(one.get('value')).split())}\n" for one in headers]
    block = "".join(lines).encode("utf-8", "replace")[:MAX_ORIGINAL]
    return Original(block, read_fields(block)) if block else Original()


def _object(text: str) -> dict[str, Any]:
    """The object that ``text`` begins with; what follows it (SNS adds a footer) and line folds are let go."""
    try:
        value, _ = json.JSONDecoder(strict=False).raw_decode(text.replace("\n ", ""))
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _inside(data: dict[str, Any], name: str) -> dict[str, Any]:
    value = data.get(name)
    return value if isinstance(value, dict) else {}


def _each(data: dict[str, Any], name: str) -> list[dict[str, Any]]:
    value = data.get(name)
    return [one for one in value if isinstance(one, dict)][:1000] if isinstance(value, list) else []

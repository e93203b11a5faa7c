"""Amazon SES notifications: JSON, sent through SNS.

Limitations: Only Bounce, Complaint and Delivery, at most MAX_JSON characters; the SNS signature is not checked.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from bounce.parsers.free_text import MAX_ORIGINAL, address_of
from bounce.parsers.mime import Mail, read_fields
from bounce.parsers.report_kinds import (
    Feedback,
    Original,
    Report,
    ReportedAction,
    ReportedRecipient,
    ReportKind,
    part_of,
)

MAX_JSON = 60_000


def read_json(mail: Mail) -> Report | None:
    """Return the notification in ``mail``, or None."""
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
            parts = tuple(ReportedRecipient(ReportedAction.DELIVERED, one, one, "2.0.0") for one in each)
            return Report(ReportKind.RECEIPT, "ses", parts)
        case _:
            return None


def _bounce(data: dict[str, Any]) -> Report:
    failed = data.get("bounceType") != "Transient" or data.get("bounceSubType") != "General"
    parts = []
    for one in _each(data, "bouncedRecipients"):
        text = str(one.get("diagnosticCode") or "")
        text = text.partition(";")[2].strip() if text.lower().startswith("smtp;") else text
        status = str(one.get("status") or "")
        name = str(one.get("action") or ("failed" if failed else "delayed"))
        action = ReportedAction.DELAYED if name == "delayed" else ReportedAction.FAILED
        address = address_of(str(one.get("emailAddress") or ""))
        parts.append(part_of(address, text, status, action, host=str(data.get("remoteMtaIp") or "") or None))
    return Report(ReportKind.BOUNCE, "ses", tuple(parts), reporter=str(data.get("reportingMTA") or "") or None)


def _complaint(data: dict[str, Any]) -> Report:
    kind = str(data.get("complaintFeedbackType") or "abuse")
    feedback = next((one for one in Feedback if one.value == kind), Feedback.OTHER)
    found = [address_of(str(one.get("emailAddress") or "")) for one in _each(data, "complainedRecipients")]
    action = ReportedAction.COMPLAINED if feedback.is_complaint else ReportedAction.NOTED
    return Report(
        ReportKind.COMPLAINT if feedback.is_complaint else ReportKind.OTHER,
        "ses",
        tuple(ReportedRecipient(action, address, address) for address in found),
        feedback=feedback,
    )


def _original(data: dict[str, Any]) -> Original:
    """Return the header of the message, if notifications are configured to include it."""
    headers = _each(_inside(data, "mail"), "headers")
    lines = [f"{one.get('name')}: {' '.join(str(one.get('value')).split())}\n" for one in headers]
    block = "".join(lines).encode("utf-8", "replace")[:MAX_ORIGINAL]
    return Original(block, read_fields(block)) if block else Original()


def _object(text: str) -> dict[str, Any]:
    """Parse the object that ``text`` begins with, ignoring line folds and what follows (SNS adds a footer)."""
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

"""Does a program of the mail system speak here, or somebody else?

The words of a bounce are quoted, forwarded and discussed by people. So words count as a bounce only if the mail says
that a mail system wrote it: by its author, by the empty return path, or by a field that nobody else writes.

It must never trust a subject.

*Limits.* All of this can be forged; that the mail came to a return path that we signed is checked elsewhere.
"""

from __future__ import annotations

import re

from bounce.reports.mime import Mail, decode_words

_SYSTEM_LOCAL = re.compile(
    r"(?:mailer?[-_. ]?daemon|mail[-_.]?(?:delivery|deliver)(?:[-_.](?:system|subsystem))?|mdaemon|daemon|root|smtpd?"
    r"|post[-_. ]?master|double-bounce|microsoftexchange[0-9a-f]*|mail-?system|mailsystem|sysadmin|ndr|bounces?"
    r"|mta|mail[-_.]?admin(?:istrator)?|mailer|smtp-?gateway)(?:[+=].{0,80})?\Z"
)
_SYSTEM_NAME = re.compile(
    r"mail(?:er)? ?deliver(?:y|) ?(?:system|subsystem|service|agent)|mailer[-_ ]?daemon|(?:system|mail) administrator"
    r"|^postmaster\b|mail delivery|microsoft outlook|internet mail connector|ndr administrator"
)
_ANSWER = re.compile(r"(?:re|fwd?|aw|wg|tr|rv|antw|doorst|sv|vs|r|i|enc)\s*(?:\[\d+\])?\s*:", re.IGNORECASE)
_FORWARD = re.compile(r"(?:fwd?|wg|tr|rv|doorst|vs|i|enc)\s*:", re.IGNORECASE)
_LISTS = (
    "list-id",
    "list-unsubscribe",
    "list-post",
    "list-help",
    "x-mailman-version",
    "x-campaign",
    "x-mailer-recptid",
)


def is_mail_system(mail: Mail) -> bool:
    """Whether the mail system wrote it, rather than a person, a list or an application."""
    if mail.fields.has("x-failed-recipients"):
        return True
    if is_bulk(mail):
        return False
    sender = decode_words(mail.fields.get("from") or "").lower()
    name, angle, address = sender.rpartition("<")
    if not angle:
        address, _, name = sender.partition("(")
    local = address.strip("<> \t").rpartition("@")[0] or address.strip("<> \t")
    if _SYSTEM_LOCAL.match(local) or (angle and not address.strip("> ")):
        return True
    if _SYSTEM_NAME.search(name.strip("\"' ")):
        return True
    return has_null_path(mail) and not is_answer(mail)


def has_null_path(mail: Mail) -> bool:
    """The envelope sender was empty, as far as the delivering host wrote it down."""
    path = next((value for name, value in mail.fields.all if name == "return-path"), None)
    return path is not None and path.strip().lower() in ("<>", "", "<mailer-daemon>", "mailer-daemon")


def is_answer(mail: Mail) -> bool:
    """Its subject says that it answers or forwards something."""
    return _ANSWER.match(decode_words(mail.fields.get("subject") or "")) is not None


def is_forwarded(mail: Mail) -> bool:
    return _FORWARD.match(decode_words(mail.fields.get("subject") or "")) is not None


def is_bulk(mail: Mail) -> bool:
    """A list or a newsletter sent it."""
    return any(mail.fields.has(name) for name in _LISTS)

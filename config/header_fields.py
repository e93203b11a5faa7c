"""The header fields that the service treats in a way of their own, in one table.

What a field that is not listed means is the sender's affair: it leaves as it came, unsigned.

Sources: RFC 5322 3.6 (which fields may appear once), RFC 5321 4.4 (Return-Path is the last system's), RFC 2369 2 and 3
(List-*), RFC 6376 5.4 and 8.15 (what to sign, and why once more than present), RFC 8601 5 (Authentication-Results).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class OnSubmission(Enum):
    """What becomes of a field in a message that is submitted, before it is signed."""

    KEEP = "keep"
    OPTION = "option"  # for this service only: read and removed
    OURS = "ours"  # only this service writes it: removed
    REMOVE = "remove"  # it discloses a recipient, or belongs to the system that delivers or stores the message
    FORGED = "forged"  # removed if it claims to be this host's


class Signed(Enum):
    NO = "no"
    PRESENT = "present"  # signed as often as it is there
    OVER = "over"  # and once more, so that adding one breaks the signature


class Text(Enum):
    """Where a field may hold text for people, and so octets beyond ASCII that can be encoded (RFC 2047 5)."""

    FREE = "free"  # anywhere
    ADDRESSES = "addresses"  # in display names and comments
    PARAMETERS = "parameters"  # in the values of parameters (RFC 2231)
    NONE = "none"


@dataclass(frozen=True, slots=True)
class HeaderField:
    name: str
    submitted: OnSubmission = OnSubmission.KEEP
    once: bool = False
    signed: Signed = Signed.NO
    text: Text = Text.FREE


_KEEP, _OURS, _REMOVE, _FORGED = OnSubmission.KEEP, OnSubmission.OURS, OnSubmission.REMOVE, OnSubmission.FORGED
_ADDRESSES, _PARAMETERS, _NONE = Text.ADDRESSES, Text.PARAMETERS, Text.NONE

OPTION_PREFIX = "X-MTA-"

HEADER_FIELDS = (
    HeaderField("From", _KEEP, once=True, signed=Signed.OVER, text=_ADDRESSES),
    HeaderField("Sender", _KEEP, once=True, signed=Signed.OVER, text=_ADDRESSES),
    HeaderField("Reply-To", _KEEP, once=True, signed=Signed.OVER, text=_ADDRESSES),
    HeaderField("To", _KEEP, once=True, signed=Signed.OVER, text=_ADDRESSES),
    HeaderField("Cc", _KEEP, once=True, signed=Signed.OVER, text=_ADDRESSES),
    HeaderField("Subject", _KEEP, once=True, signed=Signed.OVER),
    HeaderField("Date", _KEEP, once=True, signed=Signed.OVER, text=_NONE),
    HeaderField("Message-ID", _KEEP, once=True, signed=Signed.OVER, text=_NONE),
    HeaderField("In-Reply-To", _KEEP, once=True, signed=Signed.OVER, text=_NONE),
    HeaderField("References", _KEEP, once=True, signed=Signed.OVER, text=_NONE),
    HeaderField("MIME-Version", _KEEP, once=True, signed=Signed.OVER, text=_NONE),
    HeaderField("Content-Type", _KEEP, once=True, signed=Signed.OVER, text=_PARAMETERS),
    HeaderField("Content-Transfer-Encoding", _KEEP, once=True, signed=Signed.OVER, text=_NONE),
    HeaderField("Content-Disposition", _KEEP, once=True, text=_PARAMETERS),
    HeaderField("Content-ID", _KEEP, once=True, text=_NONE),
    # of lists
    HeaderField("List-Id", _KEEP, once=True, signed=Signed.OVER, text=_ADDRESSES),
    HeaderField("List-Help", _KEEP, once=True, signed=Signed.OVER, text=_NONE),
    HeaderField("List-Unsubscribe", _KEEP, once=True, signed=Signed.OVER, text=_NONE),
    HeaderField("List-Unsubscribe-Post", _KEEP, once=True, signed=Signed.OVER, text=_NONE),
    HeaderField("List-Subscribe", _KEEP, once=True, signed=Signed.OVER, text=_NONE),
    HeaderField("List-Post", _KEEP, once=True, signed=Signed.OVER, text=_NONE),
    HeaderField("List-Owner", _KEEP, once=True, signed=Signed.OVER, text=_NONE),
    HeaderField("List-Archive", _KEEP, once=True, signed=Signed.OVER, text=_NONE),
    # what only this service says of its mail
    HeaderField("Feedback-ID", _OURS, once=True, signed=Signed.OVER),
    HeaderField("X-Mailing-ID", _OURS, once=True, signed=Signed.OVER),
    HeaderField("CFBL-Address", _OURS, once=True, signed=Signed.OVER),
    HeaderField("CFBL-Feedback-ID", _OURS, once=True, signed=Signed.OVER),
    HeaderField("X-CSA-Complaints", _OURS, once=True, signed=Signed.OVER),
    # recipients that others must not see
    HeaderField("Bcc", _REMOVE),
    HeaderField("Resent-Bcc", _REMOVE),
    HeaderField("Apparently-To", _REMOVE),
    # of the system that delivers, or of a mailbox file
    HeaderField("Return-Path", _REMOVE),
    HeaderField("Delivered-To", _REMOVE),
    HeaderField("X-Delivered-To", _REMOVE),
    HeaderField("X-Original-To", _REMOVE),
    HeaderField("Envelope-To", _REMOVE),
    HeaderField("X-Envelope-To", _REMOVE),
    HeaderField("X-Envelope-From", _REMOVE),
    HeaderField("Content-Length", _REMOVE),
    HeaderField("Lines", _REMOVE),
    HeaderField("Status", _REMOVE),
    HeaderField("X-Status", _REMOVE),
    HeaderField("X-UID", _REMOVE),
    # what a verifier says, if it says so in this host's name
    HeaderField("Authentication-Results", _FORGED, text=_NONE),
    HeaderField("ARC-Authentication-Results", _FORGED, text=_NONE),
    HeaderField("ARC-Message-Signature", _FORGED, text=_NONE),
    HeaderField("ARC-Seal", _FORGED, text=_NONE),
    # others that hold addresses, or nothing for people
    HeaderField("Resent-From", text=_ADDRESSES),
    HeaderField("Resent-Sender", text=_ADDRESSES),
    HeaderField("Resent-Reply-To", text=_ADDRESSES),
    HeaderField("Resent-To", text=_ADDRESSES),
    HeaderField("Resent-Cc", text=_ADDRESSES),
    HeaderField("Errors-To", text=_ADDRESSES),
    HeaderField("Mail-Followup-To", text=_ADDRESSES),
    HeaderField("Mail-Reply-To", text=_ADDRESSES),
    HeaderField("Disposition-Notification-To", text=_ADDRESSES),
    HeaderField("Return-Receipt-To", text=_ADDRESSES),
    HeaderField("Keywords", text=_ADDRESSES),  # phrases with commas between them
    HeaderField("Resent-Date", text=_NONE),
    HeaderField("Resent-Message-ID", text=_NONE),
    HeaderField("Received", text=_NONE),
    HeaderField("DKIM-Signature", text=_NONE),
    HeaderField("Auto-Submitted", text=_NONE),
    HeaderField("Precedence", text=_NONE),
    HeaderField("Autocrypt", text=_NONE),
)

BY_NAME = {field.name.lower().encode(): field for field in HEADER_FIELDS}
UNLISTED = HeaderField("")


def names_of(*submitted: OnSubmission) -> frozenset[bytes]:
    """Return the names, in lower case, of the fields that are treated so when submitted."""
    return frozenset(name for name, field in BY_NAME.items() if field.submitted in submitted)


def signed_names(*signed: Signed) -> list[str]:
    """Return the names of the fields that are signed so, in the table's order."""
    return [field.name for field in HEADER_FIELDS if field.signed in signed]

"""May a message look like this? What must hold for every message before anybody reads it.

Pure: content in, None or the reply that refuses it out. A few hundredths of a millisecond for a message of 10 kB.

It must never change the content, and never take more than linear time whatever it is given.

*Limits.* Header fields are only counted here; their form is the business of ``mta.mail.headers``, what they say that of
the policy chain. Eight-bit content without BODY=8BITMIME is let through: the content, not the parameter, decides what
the receiver is told.
"""

from __future__ import annotations

from config.schema import Limits
from mta.mail.reply import Reply
from mta.smtp_server.mime_structure import structure_fault

BARE = Reply(554, "5.6.0", "a message must not contain NUL, nor CR or LF but as CRLF")


def content_refusal(content: bytes, limits: Limits) -> Reply | None:
    """Why ``content`` cannot be taken (RFC 5321 2.3.8 and 4.5.3.1.6, RFC 5322 2.1.1), or None."""
    line_ends = content.count(b"\r\n")
    if content.count(b"\n") != line_ends or content.count(b"\r") != line_ends or b"\0" in content:
        return BARE
    if not _lines_fit(content, limits.line_length + 2):
        return Reply(554, "5.6.0", f"a line of the message has more than {limits.line_length} octets")
    header = _header_block(content)
    if len(header) > limits.header_size:
        return Reply(554, "5.6.0", f"the header has more than {limits.header_size} octets")
    if header.count(b"\r\n") > limits.header_count and _field_count(header) > limits.header_count:
        return Reply(554, "5.6.0", f"the header has more than {limits.header_count} fields")
    if fault := structure_fault(content, header, limits.mime_depth, limits.mime_parts):
        return Reply(554, "5.6.0", fault)
    return None


def _header_block(content: bytes) -> bytes:
    """Up to the empty line, which stays out."""
    if content.startswith(b"\r\n"):
        return b""
    end = content.find(b"\r\n\r\n")
    return content[: end + 2] if end >= 0 else content


def _lines_fit(content: bytes, longest: int) -> bool:
    """Whether each line has at most ``longest`` octets with its CRLF: looks at one line end in ``longest`` octets."""
    at, size, rfind = 0, len(content), content.rfind
    while size - at > longest:
        end = rfind(b"\n", at, at + longest)
        if end < 0:
            return False
        at = end + 1
    return True


def _field_count(header: bytes) -> int:
    return header.count(b"\r\n") - header.count(b"\r\n ") - header.count(b"\r\n\t")

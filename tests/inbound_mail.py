"""Mail that receivers, feedback loops and people send to a mail service."""

from __future__ import annotations

from email.message import EmailMessage


def bounce(
    to: str, recipient: str, returned: bytes = b"", *, action: str = "failed", said: str = "550 5.1.1 no such user"
) -> bytes:
    """A report as RFC 3464 has it."""
    status = said.split()[1]
    return (
        (
            f"From: MAILER-DAEMON@mx.example.com\r\nTo: {to}\r\nSubject: Undelivered Mail Returned to Sender\r\n"
            "Date: Mon, 3 Mar 2025 09:31:00 +0000\r\nMIME-Version: 1.0\r\nAuto-Submitted: auto-replied\r\n"
            'Content-Type: multipart/report; report-type=delivery-status; boundary="b"\r\n\r\n'
            "--b\r\nContent-Type: text/plain\r\n\r\nYour message could not be delivered.\r\n"
            "--b\r\nContent-Type: message/delivery-status\r\n\r\n"
            f"Reporting-MTA: dns; mx.example.com\r\n\r\nFinal-Recipient: rfc822; {recipient}\r\nAction: {action}\r\n"
            f"Status: {status}\r\nDiagnostic-Code: smtp; {said}\r\n\r\n"
            "--b\r\nContent-Type: text/rfc822-headers\r\n\r\n"
        ).encode()
        + returned
        + b"\r\n--b--\r\n"
    )


def vacation(to: str) -> bytes:
    """An answer of a program (RFC 3834)."""
    return (
        f"From: rita@example.com\r\nTo: {to}\r\nSubject: Away until Monday\r\nDate: Mon, 3 Mar 2025 09:31:00 +0000\r\n"
        "Auto-Submitted: auto-replied\r\n\r\nI am away. 550 5.1.1 is not what I say.\r\n"
    ).encode()


def complaint(returned: bytes, *, sender: str = "fbl@feedback.example", feedback: str = "abuse") -> bytes:
    """A feedback report (RFC 5965) from which every address was struck out."""
    return (
        (
            f"From: {sender}\r\nTo: fbl@returns.sender.example\r\nSubject: complaint\r\n"
            "Date: Mon, 3 Mar 2025 09:31:00 +0000\r\nMessage-ID: <1@feedback.example>\r\nMIME-Version: 1.0\r\n"
            'Content-Type: multipart/report; report-type=feedback-report; boundary="b"\r\n\r\n'
            "--b\r\nContent-Type: text/plain\r\n\r\nThis is a complaint.\r\n"
            "--b\r\nContent-Type: message/feedback-report\r\n\r\n"
            f"Feedback-Type: {feedback}\r\nUser-Agent: Loop/1.0\r\nVersion: 1\r\n\r\n"
            "--b\r\nContent-Type: text/rfc822-headers\r\n\r\n"
        ).encode()
        + redacted(returned)
        + b"\r\n--b--\r\n"
    )


def redacted(header: bytes) -> bytes:
    """Without what says who the recipient was."""
    kept, keeps = [], True
    for line in header.split(b"\r\n"):
        if line[:1] not in (b" ", b"\t"):
            keeps = not line.lower().startswith((b"to:", b"received:", b"delivered-to:", b"return-path:"))
        if keeps:
            kept.append(line)
    return b"\r\n".join(kept)


def letter(
    to: str, subject: str = "", body: str = "", attached: bytes = b"", author: str = "Rita <rita@example.com>"
) -> bytes:
    """What a person writes, perhaps with a message attached."""
    mail = EmailMessage()
    mail["From"], mail["To"], mail["Subject"] = author, to, subject
    mail.set_content(body or "Regards, Rita")
    if attached:
        mail.add_attachment(attached, maintype="message", subtype="rfc822", cte="8bit", filename="offer.eml")
    return mail.as_bytes().replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")

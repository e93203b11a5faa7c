"""One mail transaction: what MAIL, RCPT, DATA and BDAT have brought so far, and which of them may come next.

Pure: the order of commands (RFC 5321 4.1.4, RFC 3030 3) is decided here, without IO.

*Limits.* Only accepted recipients count against the limit; refused ones are bounded by the commands of a session.
"""

from __future__ import annotations

from mta.mail.message import Body, Envelope, Recipient
from mta.mail.reply import Reply
from mta.smtp_server.body import Collected
from mta.smtp_server.replies import (
    ALL_REFUSED,
    MIXED,
    NESTED_MAIL,
    NO_MAIL,
    NO_RECIPIENT,
    TOO_MANY_RECIPIENTS,
    Rejected,
)


class Transaction:
    """``envelope`` is MAIL's, None before it; ``content`` is what DATA or BDAT have brought, None before the first.

    ``refused`` counts the recipients that were not accepted.
    """

    __slots__ = ("content", "envelope", "recipients", "refused")

    def __init__(self) -> None:
        self.envelope: Envelope | None = None
        self.recipients: list[Recipient] = []
        self.content: Collected | None = None
        self.refused = 0

    def before_mail(self) -> None:
        """Raises Refusal if MAIL is out of order."""
        if self.envelope is not None:
            raise Rejected(NESTED_MAIL)

    def before_recipient(self, most: int) -> Envelope:
        """The envelope that a recipient may be added to. Raises Refusal."""
        if self.envelope is None:
            raise Rejected(NO_MAIL)
        if self.content is not None:
            raise Rejected(MIXED)
        if len(self.recipients) >= most:
            raise Rejected(TOO_MANY_RECIPIENTS)
        return self.envelope

    def before_data(self) -> None:
        """Raises Refusal if DATA is out of order."""
        if self.content is not None:
            raise Rejected(MIXED)
        if refusal := self.content_refusal():
            raise Rejected(refusal)

    def content_refusal(self) -> Reply | None:
        """Why no content can be taken now, or None."""
        if self.envelope is None:
            return NO_MAIL
        if not self.recipients:
            return ALL_REFUSED if self.refused else NO_RECIPIENT
        return None

    def drop(self) -> None:
        """The transaction is over, whatever became of it."""
        if self.content is not None:
            self.content.drop()

    def seal(self, content: bytes) -> Envelope:
        """The whole envelope. Eight-bit content is called so, whatever MAIL said: receivers must be told."""
        mail = self.envelope
        assert mail is not None
        body = mail.body if content.isascii() else Body.EIGHT_BIT
        return Envelope(mail.sender, tuple(self.recipients), body, mail.smtputf8, mail.ret, mail.envid)

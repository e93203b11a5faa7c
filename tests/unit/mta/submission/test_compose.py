"""Messages written from their parts: how a text is encoded, and that every reader gets it back."""

from __future__ import annotations

from datetime import UTC, datetime
from email import message_from_bytes, policy

import pytest

from mta.mail.address import Address
from mta.submission.compose import MAX_LINE, MessageDraft, NamedAddress, compose

ANN = NamedAddress(Address("ann", "shop.example"), "Ann")
BOB = NamedAddress(Address("bob", "example.net"))


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("Thanks.\nYour shop", "7bit"),
        ("", "7bit"),
        ("\ta\n\n.\n..\nfrom here\n", "7bit"),
        ("x" * MAX_LINE, "7bit"),
        ("x" * (MAX_LINE + 1), "quoted-printable"),
        ("caf\u00e9", "quoted-printable"),
        ("From here on\n", "quoted-printable"),
        ("a\nFrom here on", "quoted-printable"),
        ("space at the end \nof a line", "quoted-printable"),
        ("space at the end ", "quoted-printable"),
        ("tab\t\nthere", "quoted-printable"),
        ("a\x0bb", "quoted-printable"),
        ("a\x7fb", "quoted-printable"),
    ],
)
@pytest.mark.parametrize("kind", ["plain", "html"])
def test_text_is_sent_as_it_is_if_nothing_on_the_way_changes_it(kind: str, text: str, encoding: str) -> None:
    given = {"text": text} if kind == "plain" else {"html": text}
    content = compose(MessageDraft(ANN, [BOB], "Order", **given), datetime(2026, 11, 30, tzinfo=UTC))  # type: ignore[arg-type]
    assert b"\n" not in content.replace(b"\r\n", b"")
    message = message_from_bytes(content, policy=policy.default)
    assert (message["Content-Transfer-Encoding"], message.get_content_type()) == (encoding, f"text/{kind}")
    read = message.get_content()
    assert read.replace("\r\n", "\n").removesuffix("\n") == text.removesuffix("\n")

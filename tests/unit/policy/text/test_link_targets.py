"""Where links lead, whatever way they are written."""

from __future__ import annotations

import pytest

from policy.text.link_targets import MOST, LinkTarget, target_of, targets_of
from policy.text.message_text import MessageText

EVIL = LinkTarget("evil.example", "/x")


@pytest.mark.parametrize(
    "address",
    [
        "https://evil.example/x",
        "HTTPS://EVIL.example./x/",
        "https://evil.example:8443/x#part",
        "https://user:secret@evil.example/x",
        "https://good.example@evil.example/x",
        "https:\\\\evil.example\\x",
        "//evil.example/x",
        "https:/evil.example/x",
        "https:evil.example/x",
        "ht\ttps://ev\nil.example/x",
        "https://%65vil.example/%78",
        "https://ｅｖｉｌ.example/x",
        "https://ev\u00adil.example/x",
        "https://evil。example/x",
        "https://evil.example/a/../x",
        "https://evil.example/%2e/x",
        " https://evil.example/x",
    ],
)
def test_one_page_has_one_target(address: str) -> None:
    assert target_of(address) == EVIL


@pytest.mark.parametrize(
    ("address", "target"),
    [
        ("http://127.1/", "127.0.0.1"),
        ("http://0x7f.0.0.1", "127.0.0.1"),
        ("http://017700000001/a", "127.0.0.1/a"),
        ("http://2130706433", "127.0.0.1"),
        ("http://[2001:DB8::1]:80/a", "2001:db8::1/a"),
        ("http://münchen.example/ä?b", "xn--mnchen-3ya.example/ä?b"),
        ("http://4294967296/", None),
        ("mailto:ann@evil.example", None),
        ("ftp://evil.example/", None),
        ("javascript:alert(1)", None),
        ("https://", None),
        ("", None),
    ],
)
def test_others(address: str, target: str | None) -> None:
    found = target_of(address)
    assert (None if found is None else str(found)) == target


def test_every_address_in_a_message_counts() -> None:
    html = (
        '<a href="https://a.example/x">a</a><img src="https://b.example/p.png"><form action="https://c.example/f">'
        '<p style="display:none">https://d.example</p><a href="https&#58;//e.example/">e</a>'
        '<div style="background:url(https://f.example/b.png)">f</div><!-- https://g.example -->'
    )
    mail = (
        'Content-Type: multipart/alternative; boundary="b"\r\n\r\n--b\r\nContent-Type: text/plain\r\n\r\n'
        f"see https://h.example/?q=1.\r\n--b\r\nContent-Type: text/html\r\n\r\n{html}\r\n--b--\r\n"
    )
    hosts = {target.host for target in targets_of(MessageText(mail.encode())).targets}
    assert hosts == {f"{letter}.example" for letter in "abcdefgh"}


def test_too_many_are_said_to_be_too_many() -> None:
    text = "\r\n".join(f"https://h{n}.example/" for n in range(MOST + 10))
    found = targets_of(MessageText(f"Content-Type: text/plain\r\n\r\n{text}".encode()))
    assert (len(found.targets), found.complete) == (MOST, False)

"""Buttons that are written twice, for Outlook and for all others."""

from __future__ import annotations

import pytest

from policy.html.document import HtmlDocument

LINK = "https://shop.example/u/1"
OTHERS = f'<a href="{LINK}" style="background:#8a3324;color:#fff;padding:8px 20px">Unsubscribe</a>'
SHAPE = (
    f'<v:roundrect xmlns:v="urn:schemas-microsoft-com:vml" href="{LINK}" style="height:30px;v-text-anchor:middle;'
    'width:180px;" arcsize="10%" stroke="f" fillcolor="#8a3324"><w:anchorlock/>'
    '<center style="color:#ffffff;font-size:13px;">Unsubscribe</center></v:roundrect>'
)
CELL = f'<table><tr><td bgcolor="#8a3324"><a href="{LINK}" style="color:#fff">Unsubscribe</a></td></tr></table>'


def page(outlook: str, others: str = OTHERS, between: str = "") -> HtmlDocument:
    only, no = f"<!--[if mso]>{outlook}<![endif]-->", f"<!--[if !mso]><!-->{others}<!--<![endif]-->"
    return HtmlDocument(f"<p>Hello</p>{only}{between}{no}")


@pytest.mark.parametrize("outlook", [SHAPE, CELL])
def test_a_button_for_all_shows(outlook: str) -> None:
    found = page(outlook, between="\n  ")
    assert [link.url for link in found.links] == [LINK]
    assert not found.unproven


@pytest.mark.parametrize(
    "outlook",
    [
        SHAPE.replace("/u/1", "/n/1"),
        SHAPE.replace("Unsubscribe", "Read more"),
        SHAPE.replace("#8a3324", "#ffffff"),
        CELL.replace("<td", '<td style="display:none"'),
        "",
    ],
)
def test_one_that_is_another_in_outlook_is_not_proved_to_show(outlook: str) -> None:
    found = page(outlook)
    assert not found.links
    assert [piece.why for piece in found.unproven] == ["a conditional comment that hides it in Outlook"]


def test_text_between_the_two_parts_them() -> None:
    assert page(SHAPE, between="or").unproven

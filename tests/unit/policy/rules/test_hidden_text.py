"""What a message says, its reader can see; a line of preview may hide."""

from __future__ import annotations

import pytest

from policy.rules.content.hidden_text import HiddenText
from tests.unit.policy.make import CONTEXT, ask, message

RULE = HiddenText(HiddenText.Settings(), CONTEXT)
NONE = HiddenText(HiddenText.Settings(most=0), CONTEXT)
HEAD = "From: ann@shop.example\r\nMIME-Version: 1.0\r\nContent-Type: text/html; charset=utf-8\r\n"
LONG = "invisible words for a filter to read " * 20


def answer(html: str, rule: HiddenText = RULE) -> str:
    return ask(rule, message(HEAD, html.encode()))


def test_nothing_hidden() -> None:
    assert answer("<p>All is to be seen</p>") == "pass: nothing hidden"


def test_plain_text_hides_nothing() -> None:
    assert ask(RULE) == "pass: nothing hidden"


def test_a_line_of_preview() -> None:
    html = '<div style="display:none">Ten per cent off today</div><p>Hello</p>'
    assert answer(html) == "pass: 18 letters hidden, at most 400"
    assert answer(html, NONE) == (
        'refuse: 550 5.7.1 hidden_text: 18 letters do not show, at most 0 are allowed ("Ten per cent off today" by '
        "display:none); show them or take them out"
    )


@pytest.mark.parametrize(
    ("style", "how"),
    [
        ("display:none", "display:none"),
        ("visibility:hidden", "visibility:hidden"),
        ("font-size:0", "too small a font"),
        ("color:#fff;background:#ffffff", "the colour of its background"),
        ("opacity:0", "opacity:0"),
        ("position:absolute;left:-9999px", "outside the screen"),
    ],
)
def test_much_hidden_text(style: str, how: str) -> None:
    found = answer(f'<div style="{style}">{LONG}</div><p>Hello</p>')
    assert found.startswith("refuse: 550 5.7.1 hidden_text: 600 letters do not show, at most 400 are allowed")
    assert f"by {how}); show them" in found


def test_what_shows_elsewhere_is_not_hidden() -> None:
    assert answer(f'<div>{LONG}</div><div style="display:none">{LONG}</div>') == (
        "pass: 0 letters hidden that do not show elsewhere, at most 400"
    )


def test_comments_and_styles_are_not_text() -> None:
    html = f"<style>p {{ color: red }} /* {LONG} */</style><!-- {LONG} --><p>Hello</p>"
    assert answer(html, NONE) == "pass: nothing hidden"


def test_fillers_are_no_letters() -> None:
    html = '<div style="display:none">Hi' + "&nbsp;&zwnj;&#847;" * 500 + "</div>"
    assert answer(html, NONE).startswith("refuse: 550 5.7.1 hidden_text: 2 letters do not show")


def test_a_page_that_cannot_be_read_is_not_taken_for_honest() -> None:
    found = answer("<b>" * 20_000)
    assert found.startswith(
        "refuse: 550 5.6.0 hidden_text: what the message shows cannot be told: the HTML has 20000 tags"
    )
    assert found.endswith("; make it simpler")

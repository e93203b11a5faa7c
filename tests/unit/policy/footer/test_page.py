"""A footer in a page: whatever was left open ends before it, and what could still hide it makes the page unproven."""

from __future__ import annotations

import pytest
from selectolax.lexbor import LexborHTMLParser

from policy.footer.notice import Notice, Run
from policy.footer.page import NoticePage, NotWritable
from policy.reading_budget import ReadingBudget

URL = "https://mail.example.com/u/token"
IMPRINT = Notice("imprint", {"nl": (Run("Voorbeeld & Zn B.V."), Run("Keizersgracht 1")), "en": (Run("Sample Ltd"),)})
LINK = Notice("unsubscribe", {"en": (Run("Unsubscribe", URL),), "nl": (Run("Uitschrijven", URL),)})


def written(html: str, *notices: Notice) -> str:
    page = NoticePage(html, ReadingBudget())
    return page.write(notices or (IMPRINT, LINK), page.language)


def footer_of(html: str) -> str:
    """The text of the footer; it must be the last element, and nothing around it but body and html."""
    tree = LexborHTMLParser(html)
    (block,) = tree.css('[role="contentinfo"]')
    assert block.parent is not None
    assert (block.parent.tag, block.next) == ("body", None)
    return block.text(deep=True, separator=" ")


TAILS = (
    "", "<p>Hi", "<div style='display:none'>", "<div hidden><table><tr><td>", "<table>", "<table><tr>", "<table><td>",
    "<table><caption>", "<table><colgroup><col>", "<select>", "<select><option>x", "<select><optgroup>", "<textarea>",
    "<textarea>x</textarea", "<style>", "<style>p{", "<title>", "<template>", "<template><div>", "<!--", "<!-- x --!",
    "<!", "<?php", "<![CDATA[", "<a href='https://x.example/?", '<a title="', "<p style='", "<b><i><u><a href=x>",
    "<svg>", "<svg><style>", "<svg><foreignObject><div>", "<svg><title><p>", "<iframe>", "<iframe src=x><!--",
    "<object>", "<video>", "<audio>", "<canvas>", "<button>", "<details>", "<ruby><rt>", "<marquee>", "<form><form>",
    "<fieldset><legend>", "<ul><li>", "<dl><dt>", "<h1><h2>", "<p></body></html><div style='display:none'>",
    "</body></html><!--", "<body style='color:red'><body onload=x>", "<font size=1 color=white>", "<center><pre>",
    "<noscript><div>", "<head><div hidden>", "</p></div></table></body>", "<map><area>", "<p>\x0c</p\x00>",
)  # fmt: skip


@pytest.mark.parametrize("tail", TAILS)
def test_what_is_left_open_ends_before_the_footer(tail: str) -> None:
    html = written(f"<html lang=nl><body><h1>Nieuws</h1>{tail}")
    assert footer_of(html) == "Voorbeeld & Zn B.V. · Keizersgracht 1 Uitschrijven"
    assert html.count(URL) == 1


@pytest.mark.parametrize(
    ("html", "quoted"),
    [
        ("<plaintext>x", "<plaintext>"),
        ("<frameset><frame>", "frames"),
        ("<dialog open>over</dialog>", "<dialog>"),
        ("<script>hide()</script>", "<script>"),
        ("<div><template shadowrootmode=open><style>:host{display:none}</style></template></div>", "<template>"),
        ("<meta http-equiv=Content-Security-Policy content=\"style-src 'none'\">", "<meta>"),
        ("<meta name=viewport content='width=99999'>", "<meta>"),
        ("<meta name=viewport content='initial-scale=.01'>", "<meta>"),
        ("<noscript><!-- </noscript><div hidden> --></noscript>", "<noscript>"),
        ("<noscript><style></noscript><div hidden></style></noscript>", "<noscript>"),
        ("<body style='background:url(x'>", "url(x"),
        ("<body style='color:red}{'><p>x", "color:red}{"),
        ("<xmp><b></xmp>", "<xmp>"),
        ("<math><mi><style><!--</style>", "<math>"),
        ("<img height=99999>", "height=99999"),
        ("<img height='&#57;9999'>", "height=99999"),
        ("<table cellpadding=99999><td>x</table>", "cellpadding=99999"),
        ("<style>body{opacity:0}</style>", "opacity:0"),
        ("<style>*{display:none}</style>", "display:none"),
        ("<style>html{transform:scale(0)}</style>", "<html>"),
        ("<style>[style]{mix-blend-mode:screen}</style>", "mix-blend-mode"),
        ("<style>:has(a){content-visibility:hidden}</style>", "content-visibility"),
        ("<style>body:has([lang=en]){opacity:0}</style>", ":has([lang=en])"),
        ("<style>body > :nth-last-child(2){position:fixed}</style><p>x", "position:fixed"),
        ("<body style='position:absolute;left:-9999px'>", "<body>"),
        ("<style>p{position:fixed}</style><p>over", "position:fixed"),
        ("<style>p{margin-bottom:-900px}</style><p>over", "margin-bottom:-900px"),
        ("<style>h1{padding-top:99999px}</style><h1>x", "padding-top:99999px"),
        ("<style>p{height:99999px}</style><p>x", "height:99999px"),
        ("<style>div::before{display:block;height:900px}</style>", "div::before"),
        ("<style>body > :last-child::after{position:static;color:red}</style>", ":last-child::after"),
        ("<style>*::first-line{font-family:blank}</style>", "*::first-line"),
        ("<style>[style]::first-letter{text-transform:none}</style>", "::first-letter"),
        ("<style>@import 'https://x.example/a.css';</style>", "@import"),
        ("<link rel=stylesheet href=https://x.example/a.css>", "stylesheet"),
        ("<!--[if mso]><div style='mso-hide:all'><![endif]--><p>x", "Outlook"),
        ("<!--[if gte mso 9]><table><tr><td><![endif]-->", "Outlook"),
        ("<!--[if mso]><p>x-->", "<![endif]-->"),
        ("<p>a<![if mso 16]><p>b", "stays open"),
        ("<p>a<!--[if !mso]><!--><p>b", "stays open"),
        ("x" * 300_000, "characters"),
        ("<b>" * 6000, "tags"),
    ],
)
def test_what_could_hide_it_is_quoted(html: str, quoted: str) -> None:
    with pytest.raises(NotWritable) as raised:
        written(html)
    assert quoted in str(raised.value)


@pytest.mark.parametrize(
    "html",
    [
        "<style>*{box-sizing:border-box} *::before,*::after{box-sizing:inherit}</style>",
        "<style>.btn::after{content:'x';display:block} p:first-letter{font-size:2em}</style>",
        "<style>body{height:100%!important;width:100%!important;margin:0;-webkit-text-size-adjust:none}</style>",
        "<style>div{display:none} a{color:#fff} div,a,span{font-size:0}</style>",
        "<!--[if mso]><table><tr><td><![endif]--><p>x<!--[if mso]></td></tr></table><![endif]-->",
        "<!--[if !mso]><!--><p>x<!--<![endif]--><![if !mso]><p>y<![endif]>",
        "<script type='application/ld+json'>{}</script><meta name=viewport content='width=device-width'>",
        "<meta http-equiv=refresh-not content=x><p>x",
    ],
)
def test_what_templates_use_is_fine(html: str) -> None:
    assert "Unsubscribe" in footer_of(written(html))


def test_its_styles_are_all_its_own() -> None:
    for node in LexborHTMLParser(written("<p>x")).css('[role="contentinfo"], [role="contentinfo"] *'):
        style = node.attributes["style"] or ""
        assert style.startswith("all:initial !important;")
        assert all(part.endswith(" !important") for part in style.split(";"))
        assert (node.attributes.get("class"), node.attributes.get("id")) == (None, None)


def test_html_and_body_show_whatever_they_said() -> None:
    tree = LexborHTMLParser(written("<html style='overflow:hidden'><body style='display:flex;color:red'>"))
    for name in ("html", "body"):
        (node,) = tree.tags(name)
        assert (node.attributes["style"] or "").endswith("overflow:visible !important")


def test_a_placeholder_in_text_that_shows_is_the_place() -> None:
    html = written("<html lang=nl><p>Wij zijn {{imprint}}. {{ unsubscribe }}!</p><p>Dag</p>")
    assert "contentinfo" not in html
    assert html.index("Keizersgracht") < html.index(URL) < html.index("Dag")
    assert "{{" not in html


def test_a_placeholder_that_is_the_address_of_a_link_is_the_place() -> None:
    html = written('<p><a href="{{unsubscribe}}">No more mail</a></p>', LINK)
    assert f'<a href="{URL}">No more mail</a>' in html
    assert "contentinfo" not in html
    bare = written('<p><a href="{{unsubscribe}}"></a>', LINK)
    assert "Unsubscribe" in footer_of(bare), "a link with nothing to press is none"


def test_a_placeholder_that_does_not_show_is_none() -> None:
    html = written("<div style='display:none'>{{imprint}}{{unsubscribe}}</div><p>x")
    assert footer_of(html) == "Voorbeeld & Zn B.V. · Keizersgracht 1 Unsubscribe"
    assert "{{" not in html


def test_the_second_of_two_placeholders_goes() -> None:
    html = written("<p>{{imprint}} and {{imprint}}</p>", IMPRINT)
    assert html.count("Keizersgracht") == 1
    assert "{{" not in html


@pytest.mark.parametrize(
    ("html", "where"),
    [
        ("<p style='color:{{imprint}}'>x", "the attribute style of <p>"),
        ("<img alt='{{unsubscribe}}'>", "the attribute alt of <img>"),
        ("<a href='https://x.example/?{{unsubscribe}}'>x</a>", "the attribute href of <a>"),
        ("<style>p{content:'{{imprint}}'}</style>", "<style>"),
        ("<title>{{imprint}}</title>", "<title>"),
        ("<!-- {{imprint}} -->", "comment"),
        ("<textarea>{{imprint}}</textarea>", "<textarea>"),
    ],
)
def test_a_placeholder_where_nothing_can_stand_is_refused(html: str, where: str) -> None:
    with pytest.raises(NotWritable) as raised:
        written(html)
    assert where in str(raised.value)


def test_what_it_says_is_text() -> None:
    notice = Notice("imprint", {"en": (Run("<b>Sons & \"Co\"</b> {{imprint}}"),)})  # fmt: skip
    assert footer_of(written("<p>x", notice)) == '<b>Sons & "Co"</b> {{imprint}}'


def test_the_doctype_stays() -> None:
    doctype = '<!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.0 Transitional//EN" "http://www.w3.org/TR/xhtml1/DTD">'
    assert written(f"{doctype}\n<html><p>x").startswith(doctype)
    assert written("<p>x").startswith("<html")


def test_it_says_utf8() -> None:
    html = written("<meta charset=latin1><meta http-equiv=Content-Type content='text/html; charset=iso-8859-1'><p>x")
    assert 'charset="utf-8"' in html
    assert "text/html; charset=utf-8" in html
    assert "latin1" not in html

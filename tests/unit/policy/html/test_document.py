"""What of a page shows and what does not, way by way; each page shows "seen" and hides "secret"."""

from __future__ import annotations

import pytest

from policy.html.cascade import MAX_COLOURS
from policy.html.document import MAX_OPEN, HtmlDocument
from policy.html.style import Hiding
from policy.reading_budget import ReadingBudget

SECRET = [
    ('<p style="display:none">secret</p>seen', Hiding.NOT_DISPLAYED),
    ('<p style="DISPLAY : None !important; display:block">secret</p>seen', Hiding.NOT_DISPLAYED),
    ('<p style="d\\69splay:none">secret</p>seen', Hiding.NOT_DISPLAYED),
    ('<p style="display&#58;none">secret</p>seen', Hiding.NOT_DISPLAYED),
    ('<p style="display:/**/none">secret</p>seen', Hiding.NOT_DISPLAYED),
    ("<style>.x{display:none}</style><p class=x>secret</p>seen", Hiding.NOT_DISPLAYED),
    ("<style>@media screen{.x{display:none}}</style><p class=x>secret</p>seen", Hiding.NOT_DISPLAYED),
    (
        "<style>.f .x{display:none}</style><div class=f><p><b class=x>secret</b></div><b class=x>seen",
        Hiding.NOT_DISPLAYED,
    ),
    ('<style>p{display:none!important}</style><p style="display:block">secret</p>seen', Hiding.NOT_DISPLAYED),
    ('<div style="display:none"><div style="display:none">secret</div></div>seen', Hiding.NOT_DISPLAYED),
    ('<div style="display:none"><p style="color:#fff">secret</p></div>seen', Hiding.NOT_DISPLAYED),
    ("<p hidden>secret</p>seen", Hiding.ATTRIBUTE),
    ('<p style="visibility:hidden">secret<b style="visibility:visible">seen</b></p>', Hiding.INVISIBLE),
    ('<p style="opacity:0">secret</p>seen', Hiding.TRANSPARENT),
    ('<p style="opacity:.01">secret</p>seen', Hiding.TRANSPARENT),
    ('<p style="font-size:0">secret<b style="font-size:14px">seen</b></p>', Hiding.TINY),
    ('<p style="font:1px/1 Arial">secret</p>seen', Hiding.TINY),
    ('<p style="font-size:0"><b style="font-size:2em">secret</b></p>seen', Hiding.TINY),
    ('<p style="color:#fff">secret<b style="color:red">seen</b></p>', Hiding.SAME_COLOUR),
    ('<p style="color:rgb(250,250,250)">secret</p>seen', Hiding.SAME_COLOUR),
    ("<font color=white>secret</font>seen", Hiding.SAME_COLOUR),
    ('<body bgcolor=black text=white>seen<p style="background:white">secret</p>', Hiding.SAME_COLOUR),
    ('<table bgcolor="#003366"><tr><td style="color:#003366">secret</td></tr></table>seen', Hiding.SAME_COLOUR),
    ("<style>.x{color:#fff}</style><p class=x>secret</p>seen", Hiding.SAME_COLOUR),
    ('<p style="position:absolute;left:-9999px">secret</p>seen', Hiding.OFF_SCREEN),
    ('<p style="text-indent:-1000em">secret</p>seen', Hiding.OFF_SCREEN),
    ('<p style="position:absolute;clip:rect(0, 0, 0, 0)">secret</p>seen', Hiding.OFF_SCREEN),
    ('<p style="transform:scale(0)">secret</p>seen', Hiding.OFF_SCREEN),
    ('<p style="max-height:0;overflow:hidden">secret</p>seen', Hiding.NO_ROOM),
    ('<p style="width:0;height:0;overflow:hidden">secret</p>seen', Hiding.NO_ROOM),
    ("<!-- secret -->seen", Hiding.COMMENT),
    ("<body><noscript>secret</noscript>seen", Hiding.NOT_RENDERED),
    ("<svg><text>secret</text></svg>seen", Hiding.NOT_RENDERED),
]

SHOWN = [
    '<style>.x{display:none}</style><p class=x style="display:block">seen</p>',
    "<style>a:hover{color:#fff}.y{display:none}</style><a href=x>seen</a>",
    '<table><tr><td style="font-size:0px"><div style="font-size:13px">seen</div></td></tr></table>',
    '<table bgcolor="#003366"><tr><td style="color:#ffffff">seen</td></tr></table>',
    '<a style="background:#0a7d3c;color:#ffffff">seen</a>',
    '<div style="height:0">seen</div>',
    '<div style="margin-left:-20px;opacity:0.9">seen</div>',
    '<font size=1 color="#777">seen</font>',
    '<p style="color:inherit;font-size:80%">seen</p>',
    "<frameset><frame></frameset><p>",
]


@pytest.mark.parametrize(("html", "how"), SECRET)
def test_hidden_text_is_told_and_not_shown(html: str, how: Hiding) -> None:
    page = HtmlDocument(html)
    assert page.text.split() == ["seen"]
    assert [(hidden.text.strip(), hidden.how) for hidden in page.hidden] == [("secret", how)]


@pytest.mark.parametrize("html", SHOWN)
def test_text_that_shows_is_not_taken_for_hidden(html: str) -> None:
    page = HtmlDocument(html)
    assert page.text.strip() == ("" if "frameset" in html else "seen")
    assert page.hidden == ()


@pytest.mark.parametrize("name", ["script", "style", "template", "title", "iframe", "noembed", "video", "canvas"])
def test_what_is_not_rendered_is_not_shown(name: str) -> None:
    assert HtmlDocument(f"<body><p>seen<{name}>secret</{name}>").text.strip() == "seen"


def test_comments_for_one_program_are_not_hidden_text() -> None:
    assert HtmlDocument("<!--[if mso]><p>words</p><![endif]-->seen").hidden == ()


@pytest.mark.parametrize(
    "html",
    [
        "<div>" * (ReadingBudget().tags + 1),
        "".join(f"<p style='color:#{i:06x}'>x" for i in range(MAX_COLOURS + 2)),
        "<p " + " ".join(f"a{i}=1" for i in range(20_000)) + ">",
        '<p x=">" ' + " ".join(f"a{i}" for i in range(20_000)) + ">",
        "<style>" + "".join(f".a{i}:nth-last-of-type(2n){{color:#fff}}" for i in range(50)) + "</style>" + "<p>" * 4000,
        "<style>" + "".join(f".a{i} .b .c{{color:#fff}}" for i in range(900)) + "</style>" + "<p><q class=c>" * 2000,
        "<style>" + "/**/" * 60_000 + "</style>",
    ],
)
def test_pages_that_would_take_too_long_are_not_read(html: str) -> None:
    page = HtmlDocument(html)
    assert page.fault.startswith("the HTML has ")
    assert (page.text, page.links, page.images) == ("", (), ())


def test_elements_that_are_left_open_are_not_read() -> None:
    for tag in ("b", "font color=red", "A href=x", "strong\n"):
        page = HtmlDocument("".join(f"<{tag} id=i{i}>" for i in range(600)))
        assert page.fault == f"the HTML leaves 600 elements such as <b> open, at most {MAX_OPEN} are read"
    assert HtmlDocument("<b>x</b><br><body><base>" * 1000).fault == ""


def test_all_pages_of_a_message_share_one_budget() -> None:
    budget = ReadingBudget(tags=5, steps=100)
    assert HtmlDocument("<p>a<p>b", budget).fault == ""
    assert HtmlDocument("<p>a<p>b<p>c<p>d", budget).fault == "the HTML has 4 tags, at most 3 are read"


@pytest.mark.parametrize(
    "html", ["seen " * 20_000, "<style>" + "a b{c:d} " * 2000 + "</style>seen", "<p title='" + "a " * 9000 + "'>seen"]
)
def test_long_runs_that_are_no_tags_are_read(html: str) -> None:
    page = HtmlDocument(html)
    assert page.fault == ""
    assert "seen" in page.text


def test_what_stands_beside_a_link_ends_where_a_block_ends() -> None:
    page = HtmlDocument("<div><p>Only 5 euros.</p>Enough? <a href=https://a.example/u>Leave</a> now<p>More</p></div>")
    before, behind = page.links[0].around
    assert before.splitlines() == ["", "Only 5 euros.", "Enough? "]
    assert behind.splitlines() == [" now", "More"]

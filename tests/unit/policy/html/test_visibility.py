"""What shows, what is hidden and what cannot be told: by property, rule, screen and element; and following only the
styles that have a part in it finds the same as following all of them."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policy.html import visibility
from policy.html.cascade import OwnStyles, speaks_of
from policy.html.css import StyleRule
from policy.html.document import HtmlDocument

STYLES = (
    "color:#fff", "color:#000", "color:#036", "background:#fff", "background:#036", "background:#036;color:#fff",
    "background:url(x.png)", "color:#fff;background:#fefefe", "display:none", "display:none;color:#fff",
    "display:none;font-size:0", "visibility:hidden", "visibility:visible", "font-size:0", "font-size:14px", "opacity:0",
    "display:block",
    "max-height:0;overflow:hidden", "position:absolute", "height:auto", "font-size:.3em", "opacity:.5",
    "line-height:2", "",
)  # fmt: skip
ATTRIBUTES = ("", " hidden", " bgcolor=white", " bgcolor=#003366", " background=x.png")
TAGS = ("div", "p", "b", "a", "font color=white", "font color=#036")

styles = st.sampled_from(STYLES)
elements = st.tuples(st.sampled_from(TAGS), styles, st.sampled_from(ATTRIBUTES), st.sampled_from(("", "x", "y", "x y")))
rules = st.tuples(st.sampled_from((".x", ".y", "a", "div .x", "b, .y")), styles, st.booleans())


@st.composite
def pages(draw: st.DrawFn) -> str:
    sheet = "".join(
        f"{selector}{{{style}{' !important' if firm and style else ''}}}"
        for selector, style, firm in draw(st.lists(rules, max_size=3))
    )
    html, opened = [f"<style>{sheet}</style>"], list[str]()
    for number, step in enumerate(draw(st.lists(st.one_of(elements, st.none()), max_size=12))):
        if step is None:
            html.append(f"</{opened.pop()}>" if opened else "")
        else:
            tag, style, older, classes = step
            html.append(f'<{tag} style="{style}"{older} class="{classes}">')
            opened.append(tag.partition(" ")[0])
        html.append(f"words{number}")
    return "".join(html)


def every_kind(own: OwnStyles, rules: Sequence[StyleRule]) -> frozenset[str]:
    styles = (*own.normal, *own.important, *(rule.style for rule in rules))
    kinds = {"displayed", "visible", "lines", "size", "opacity", "box", "paint", "aside"}
    return frozenset(kinds).union(*map(speaks_of, styles))


def said(html: str) -> tuple[object, ...]:
    page = HtmlDocument(html)
    hidden = sorted((hidden.text, hidden.how.value) for hidden in page.hidden)
    return page.text, hidden, sorted((piece.text, piece.why) for piece in page.unproven)


@settings(max_examples=500, deadline=None)
@given(pages())
def test_the_styles_in_play_are_enough(html: str) -> None:
    found = said(html)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(visibility, "kinds_in_play", every_kind)
        assert said(html) == found


PAGE = (
    "<!doctype html><html><head><style>{}</style></head><body><h1>News</h1><p>text</p>"
    "<div class='foot'>NOTICE {}</div></body></html>"
)


def state(css: str, inside: str = "") -> str:
    """Whether the notice "shows", is "hidden", or else why it is unproven."""
    page = HtmlDocument(PAGE.format(css, inside))
    assert page.fault == ""
    if "NOTICE" in page.text:
        return "shows"
    if any("NOTICE" in hidden.text for hidden in page.concealed):
        return "hidden"
    (why,) = {piece.why for piece in page.unproven if "NOTICE" in piece.text}
    return why


SHOWN = [
    ".foot{color:#767676;font-size:11px;line-height:150%;padding:20px 0 40px;text-align:center}",
    ".foot{font:normal 12px/18px Arial,sans-serif;margin:0 auto;max-width:600px;width:100%}",
    ".foot{display:table;height:auto;overflow:hidden}",
    ".foot{display:none} .foot{display:block}",
    ".foot{display:none} div.foot{display:block}",
    "div.foot{display:block} .foot{display:none}",
    ".foot{display:block!important} body div.foot{display:none}",
    ".foot{position:absolute} div.foot{position:static}",
    ".foot:hover{display:none} .foot:active,.foot:focus{color:#fff}",
    ".foot:not(.foot){display:none} .feet, .foot > i{display:none}",
    "@media print{.foot{display:none}} @media not screen{.foot{display:none}}",
    "@media screen and (max-width:600px){.foot{width:100%!important;font-size:14px!important}}",
    "@media (max-width:480px) and (min-width:900px){.foot{display:none}}",
    "@media (prefers-color-scheme:dark){body{background:#111}.foot{color:#eee}}",
    "@media yahoo{.foot{color:#333}} @supports (display:grid){.foot{display:grid}}",
    "@font-face{font-family:x;src:url(https://fonts.gstatic.com/x.woff2)} .foot{font-family:x,Arial}",
    "@import url('https://fonts.googleapis.com/css?family=Lato');",
    "@keyframes x{from{opacity:0}} .other{animation:x 1s}",
    ".foot{--brand:#fff;mso-line-height-rule:exactly;-webkit-text-size-adjust:none;-ms-interpolation-mode:bicubic}",
    ".foot{background:#222;color:#ddd}",
    "body{margin:0;padding:0;width:100%!important;height:100%;-webkit-font-smoothing:antialiased}",
    "table{border-spacing:0;border-collapse:collapse} td{mso-table-lspace:0pt;vertical-align:top}",
    ".foot{opacity:.8;letter-spacing:.5px;text-indent:0;word-spacing:normal;zoom:1;z-index:1;position:relative;top:0}",
    ".foot{colour:red;align:left;cellpadding:0}", ".foot{width:0;min-width:100%}", ".foot{width:1%;margin:0 20px}",
    ".foot::selection{color:#fff;background:#fff} .foot::placeholder{opacity:0}",
    "#outlook a{padding:0} .ReadMsgBody{width:100%} .ExternalClass *{line-height:100%}",
    "a[x-apple-data-detectors]{color:inherit!important} u + .body .x{display:none}",
]  # fmt: skip

HIDDEN = [
    ".foot{display:none}", "div{display:none}", "*{display:none}", "html{display:none}", "body{visibility:hidden}",
    "body > :last-child{display:none}", "h1 + p + .foot{display:none}", "h1 ~ div{display:none}",
    ".foot:first-of-type{visibility:hidden}", ".foot:nth-child(3){display:none}", "div:not(.x){display:none}",
    "[class^=fo]{display:none}", ":is(.foot,.x){display:none}", "p:has(b),.foot:not(:hover){display:none}",
    "@media screen{.foot{display:none}}", "@media (min-width:0px){.foot{display:none}}",
    "@media not print{.foot{display:none}}",
    "@media screen and (min-width:1px){.foot{display:none}}", "@media all,print{.foot{display:none}}",
    ".foot{display:block} div.foot{display:none}", ".foot{display:none!important} div.foot{display:block}",
    ".foot{color:#fff}", ".foot{color:mintcream}", ".foot{color:rgba(0,0,0,0)}", ".foot{color:#f0f0f0}",
    "body{background:#123456} .foot{color:#123457}", ".foot{background:black}", ".foot{font-size:1px}",
    ".foot{opacity:.01}", ".foot{opacity:1e-9}", ".foot{overflow:hidden} div{max-height:1px}",
    "body{font-size:4px} .foot{font-size:.2em}", ".foot{display:var(--x)} .foot{display:none}",
]  # fmt: skip

UNPROVEN = {
    ".foot{display:var(--d,none)}": "display:var(--d,none)",
    ".foot{transform:rotateX(90deg)}": "transform:rotatex(90deg)",
    ".foot{filter:opacity(0)}": "filter:opacity(0)",
    ".foot{height:20px;overflow:auto}": "overflow with a fixed height or width",
    ".foot{something-new:1}": "something-new:1",
    ".foot{padding-top:99999px}": "padding-top:99999px",
    ".foot{background:url(x.png);color:#fff}": "text on a picture",
    ".foot{font-size:5px}": "a font below 7 pixels",
    ".foot{line-height:0}": "a line height below the font's",
    ".foot{opacity:.4}": "opacity:0.4",
    ".foot{mso-hide:all}": "mso-hide:all",
    ".foot{line-height:9999px}": "line-height:9999px",
    ".foot{font-size:200vw}": "font-size:200vw",
    ".foot{width:2px}": "width:2px",
    "p{margin-top:-9999px}": "margin-top:-9999px",
    "p{border:9999px solid #fff}": "border:9999px solid #fff",
    "*{margin:90px}": "margins that leave no room",
    "p{position:absolute;top:0}": "position:absolute",
    "p{margin-bottom:-200px}": "margin-bottom:-200px",
    "p::before{content:'';position:fixed;inset:0;background:#fff}": "position:fixed",
    "@media (max-width:600px){.foot{display:none}}": "display:none on a screen 360 pixels wide",
    "@media (min-width:500px) and (max-width:700px){.foot{display:none}}": "display:none on a screen 500 pixels wide",
    "@media (width<=600px){.foot{display:none}}": "display:none on a screen 360 pixels wide",
    "@media (prefers-color-scheme:dark){.foot{color:#fff}}": (
        "the colour of its background on a screen 1280 pixels wide, in dark mode"
    ),
    "@media (hover:hover){.foot{display:none}}": "display:none on a screen 1280 pixels wide",
    "@media (-webkit-min-device-pixel-ratio:0){.foot{display:none}}": "display:none on a screen 1280 pixels wide",
    "@supports (color:red){.foot{display:none}}": "display:none on a screen 1280 pixels wide",
    "@layer a{.foot{display:none}}": "display:none on a screen 1280 pixels wide",
    "@container (width>0px){.foot{display:none}}": "display:none on a screen 1280 pixels wide",
    ".foot{&{display:none}}": "display:none on a screen 1280 pixels wide",
    "body{.foot{display:none}}": "display:none on a screen 1280 pixels wide",
    "@import url(https://evil.example/x.css);": "@import url(https://evil.example/x.css)",
    '@import "https://fonts.googleapis.com.evil.example/x.css";': '@import "https://fonts.googleapis.com.evil.example/x.css"',
    ".foot:lang(en){display:none}": ".foot:lang(en) {…}",
}


@pytest.mark.parametrize("css", SHOWN)
def test_what_is_understood_shows(css: str) -> None:
    assert state(css) == "shows"


@pytest.mark.parametrize("css", HIDDEN)
def test_what_hides(css: str) -> None:
    assert state(css) == "hidden"


@pytest.mark.parametrize("css", UNPROVEN)
def test_what_cannot_be_told(css: str) -> None:
    assert state(css) == UNPROVEN[css]


@pytest.mark.parametrize(
    ("html", "why"),
    [
        ("<marquee>NOTICE</marquee>", "<marquee>"),
        ("<map name=m>NOTICE</map>", "<map>"),
        ("<bdo dir=rtl>NOTICE</bdo>", "<bdo>"),
        ("<![if !mso]>NOTICE<![endif]>", "a conditional comment that hides it in Outlook"),
        ("<!--[if !mso]><!--><p>NOTICE</p><!--<![endif]-->", "a conditional comment that hides it in Outlook"),
        ("<table width=0><tr><td>NOTICE</table>", "width or height of 0"),
        (
            "<table><colgroup><col style='visibility:collapse'></colgroup><tr><td>NOTICE</table>",
            "a column without room",
        ),
        (
            "<div style='opacity:.6'><div style='opacity:.6'><p style='opacity:.6'>NOTICE</p></div></div>",
            "opacity:0.36",
        ),
        ("NOTICE<link rel=stylesheet href='data:text/css,*{}'>", '<link rel=stylesheet href="data:text/css,*{}">'),
        ("NOTICE<div style='position:fixed;top:0'>over</div>", "position:fixed"),
    ],
)
def test_elements_that_are_not_understood(html: str, why: str) -> None:
    page = HtmlDocument(f"<body><p>seen</p>{html}")
    assert "NOTICE" not in page.text
    assert [piece.why for piece in page.unproven if "NOTICE" in piece.text] == [why]


@pytest.mark.parametrize("name", ["select><option", "meter", "progress", "dialog", "details", "textarea", "template"])
def test_elements_that_show_nothing(name: str) -> None:
    assert "NOTICE" not in HtmlDocument(f"<body><p>seen</p><{name}>NOTICE").text


def test_nested_sizes_are_multiplied() -> None:
    assert state("", "<b style='font-size:.3em'><i style='font-size:.3em'>small</i></b>") == "shows"
    page = HtmlDocument(
        "<p style='font-size:.3em'>NOTICE<b style='font-size:.3em'>tiny</b><i style='font-size:12px'>seen</i>"
    )
    assert page.text == "seen"
    assert [piece.text for piece in page.unproven] == ["NOTICE"]
    assert [hidden.text for hidden in page.concealed] == ["tiny"]


def test_links_in_doubt_are_kept_with_their_words() -> None:
    page = HtmlDocument(
        "<p>seen<span style='filter:blur(9px)'>or <a href='https://a.example/u'>un <b>subscribe</b></a></span>"
    )
    assert page.links == ()
    assert [piece.links for piece in page.unproven] == [(("https://a.example/u", "un subscribe"),)]


def test_a_picture_that_counts_readers_covers_nothing() -> None:
    assert (
        HtmlDocument("<p>seen<img src=x width=1 height=1 style='position:absolute;visibility:hidden'>").text == "seen"
    )
    assert HtmlDocument("<p>seen<div style='position:absolute;display:none'>x</div>").text == "seen"

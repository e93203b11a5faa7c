"""Chromium as the judge of what shows: text that the policy takes for shown can be seen, whatever styles surround it.

Pages are made at random from a grammar of selectors, properties and elements. Where the policy says that the notice
shows, it is drawn twice, once with its letters in another order: if both pictures are the same, nobody can see it.
"""

from __future__ import annotations

import base64
import json
import os
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from selectolax.lexbor import LexborHTMLParser

from bench import programs
from policy.html.css import sheet_of
from policy.html.document import HtmlDocument
from tests.peers.browser import Tab, open_tab

pytestmark = [pytest.mark.peer, pytest.mark.skipif(bool(programs.absent("chromium")), reason="Chromium is not here")]

EXAMPLES = int(os.environ.get("VISIBILITY_EXAMPLES", "150"))  # pages that are made; the nightly target makes 10,000
SEED = int(os.environ.get("SEED", "1"))
NOTICE = "Voorbeeld B.V. 12345678"
SCREENS = ((1280, "light"), (360, "light"), (1280, "dark"))
DIFFERENT = 24  # of 255, in one channel: less is not seen
SCROLL = """(() => {
const locked = [document.documentElement, document.body].some(
  element => /hidden|clip/.test(getComputedStyle(element).overflowY));
const notice = document.getElementById("n");
if (notice && !locked) scrollTo(0, notice.getBoundingClientRect().top + scrollY - 100);
})()"""  # as a reader does, and not where a reader cannot

SELECTORS = (
    ".foot", "div", "*", "body", "html", "#n", "[class]", "body *", "body > *", "div.foot", ".wrap .foot",
    ".wrap > .foot",
    "h1 + p + .wrap .foot", ":not(h1)", "div:last-child", ".foot:first-child", ".foot:nth-child(odd)", "p", "h1",
    "td",
    ".foot::first-line", ".foot::before", "p::after", ".foot:hover", ".foot:not(:hover)", ":is(.foot,p)", ":root",
    ".FOOT",
    ".foot *", "b", ".wrap:has(b)", "div:lang(en)", ".foot:empty", ".wrap ~ *", "body:not(.x) .foot",
)  # fmt: skip
LENGTHS = (
    "0", "1px", "2px", "8px", "12px", "100px", "600px", "-1px", "-30px", "-400px", "-9999px", "9999px", "99999px",
    ".1em",
    "1em", "3em", "-2em", "1%", "50%", "100%", "200vw", "100vh", "calc(0px)", "calc(1px - 1px)", "auto", "inherit",
    "1e-3px",
)  # fmt: skip
COLOURS = (
    "#fff", "#000", "white", "#fefefe", "#777", "#bbb", "#036", "transparent", "currentcolor", "rgba(0,0,0,0)",
    "#fff0",
    "rgb(100% 100% 100%)", "hsl(0 0% 100%)", "mintcream", "var(--x,white)", "inherit", "initial", "color(srgb 1 1 1)",
)  # fmt: skip
VALUES = {
    "display": ("none", "block", "inline", "inline-block", "table", "flex", "grid", "contents", "var(--d,none)",
        "table-column"),
    "visibility": ("hidden", "collapse", "visible"),
    "opacity": ("0", "1", ".01", "1e-9", "50%", ".7", "calc(0)"),
    "position": ("absolute", "fixed", "relative", "sticky", "static"),
    "overflow": ("hidden", "auto", "clip", "visible"),
    "overflow-x": ("hidden",),
    "white-space": ("nowrap", "pre", "normal"),
    "float": ("left", "right", "none"),
    "clip-path": ("inset(100%)", "circle(0)", "none", "polygon(0 0)"),
    "clip": ("rect(0,0,0,0)", "auto"),
    "transform": ("scale(0)", "scale(.01)", "rotateX(90deg)", "translateX(-9999px)", "none", "matrix(0,0,0,0,0,0)"),
    "translate": ("-9999px", "none"), "scale": ("0", "1"), "rotate": ("x 90deg", "none"),
    "filter": ("opacity(0)", "brightness(100)", "blur(40px)", "none"),
    "mask-image": ("linear-gradient(transparent,transparent)", "none"),
    "-webkit-mask-image": ("linear-gradient(transparent,transparent)",),
    "mix-blend-mode": ("screen", "normal"),
    "content-visibility": ("hidden", "visible"),
    "contain": ("paint", "size", "none"),
    "zoom": (".01", "1"),
    "animation": ("k 0s forwards", "none"),
    "unicode-bidi": ("bidi-override", "normal"), "direction": ("rtl", "ltr"),
    "writing-mode": ("vertical-rl", "horizontal-tb"),
    "z-index": ("-1", "1", "auto"),
    "-webkit-text-fill-color": ("transparent", "currentcolor", "white"),
    "-webkit-line-clamp": ("0", "none"),
    "columns": ("9999", "auto"),
    "all": ("unset", "initial"),
    "background": ("#fff", "#000", "none", "linear-gradient(#000,#000)", "url(data:,)", "#777"),
    "background-color": COLOURS,
    "color": COLOURS,
    "font": ("0/0 a", "12px/1.5 Arial", "1px serif", "menu"),
    "mso-hide": ("all",),
    "content": ('"over"', '""'),
    "box-sizing": ("border-box",),
    "text-shadow": ("0 0 9px #fff",),
    "border": ("1px solid #000", "9999px solid #fff"),
    "inset": ("0", "-9999px"),
} | dict.fromkeys(("font-size", "line-height", "letter-spacing", "word-spacing", "text-indent", "height",
"max-height", "width", "max-width", "min-width", "min-height", "block-size", "margin", "margin-top", "margin-left",
"margin-right", "margin-bottom", "padding", "padding-top", "padding-left", "top", "left", "right", "bottom",
"inset-block-start", "margin-inline-start"), LENGTHS)  # fmt: skip
AROUND = (
    "{}", "<style>@media screen{{{}}}</style>", "<style>@media (max-width:600px){{{}}}</style>",
    "<style>@media (prefers-color-scheme:dark){{{}}}</style>", "<style>@supports (color:red){{{}}}</style>",
    "<style>@layer a{{{}}}</style>", "<style>@media not print{{{}}}</style>",
    "<style>@media (width>1px){{{}}}</style>",
    "<style>@media print{{{}}}</style>", "<style>body{{{}}}</style>", "<style>@container (width>0){{{}}}</style>",
)  # fmt: skip
WRAPPERS = (
    "{}", "{}", "{}", "<table><tr><td>{}</td></tr></table>", "<center>{}</center>", "<font size=1>{}</font>",
    "<details>{}</details>",
    "<dialog>{}</dialog>", "<select><option>{}</option></select>", "<div hidden>{}</div>", "<div popover>{}</div>",
    "<button>{}</button>", "<marquee>{}</marquee>", "<map>{}</map>", "<meter>{}</meter>", "<object>{}</object>",
    "<table width=0 height=0><tr><td>{}</td></tr></table>", "<![if !x]>{}<![endif]>", "<noscript>{}</noscript>",
    "<table><col style='visibility:collapse'><tr><td>{}</td></tr></table>", "<template>{}</template>",
    "<bdo dir=rtl>{}</bdo>",
)  # fmt: skip


@dataclass(frozen=True)
class Page:
    html: str
    turned: str


def pages(dice: random.Random) -> Iterator[Page]:
    while True:
        sheet = "".join(_rules(dice))
        style = _style(dice) if dice.random() < 0.4 else ""
        outer = _style(dice) if dice.random() < 0.3 else ""
        doctype = "<!doctype html>" if dice.random() < 0.8 else ""
        body = dice.choice(WRAPPERS)

        def page(notice: str) -> str:
            foot = body.format(f"<div class='foot' id='n' style='{style}'>{notice} <b>ok</b></div>")  # noqa: B023
            return (
                f"{doctype}<html lang=en><head><meta charset=utf-8>{sheet}</head><body><h1>News</h1><p>text</p>"  # noqa: B023
                f"<div class='wrap' style='{outer}'>{foot}</div><p>more</p></body></html>"  # noqa: B023
            )

        yield Page(page(NOTICE), page(NOTICE[::-1]))


def _rules(dice: random.Random) -> Iterator[str]:
    for _ in range(dice.choice((0, 1, 1, 2, 3))):
        rule = f"{dice.choice(SELECTORS)}{{{_style(dice)}}}"
        around = dice.choice(AROUND) if dice.random() < 0.5 else "{}"
        yield around.format(rule) if around != "{}" else f"<style>{rule}</style>"


def _style(dice: random.Random) -> str:
    parts = []
    for _ in range(dice.choice((1, 1, 2, 3))):
        name = dice.choice(list(VALUES))
        important = " !important" if dice.random() < 0.2 else ""
        parts.append(f"{name}:{dice.choice(VALUES[name])}{important}".replace("'", '"').replace('"', "&quot;"))
    return ";".join(parts).replace("&quot;", "")


async def test_what_is_taken_for_shown_can_be_seen(tmp_path: Path) -> None:
    dice = random.Random(SEED)
    shown, unseen = 0, []
    async with open_tab(tmp_path / "browser") as tab:
        await tab.open("data:text/html,<p>mail")
        judge = Judge(tab, first=SCROLL)
        await judge.prepare()
        for _, page in zip(range(EXAMPLES), pages(dice), strict=False):
            document = HtmlDocument(page.html)
            if NOTICE not in " ".join(document.text.split()):
                continue
            shown += 1
            for width, scheme in SCREENS:
                if not await judge.can_see(page, width, scheme):
                    unseen.append(f"{width} {scheme}: {page.html}")
                    break
    assert shown >= EXAMPLES // 40, "the grammar makes pages that show, too"
    assert unseen == []


async def test_the_judge_sees(tmp_path: Path) -> None:
    """A judge that is blind, or sees ghosts, proves nothing."""
    async with open_tab(tmp_path / "browser") as tab:
        await tab.open("data:text/html,<p>mail")
        judge = Judge(tab)
        await judge.prepare()
        for style, seen in (("", True), ("color:#777", True), ("display:none", False), ("color:#fefefe", False)):
            html = f"<body style='background:#fff'><div style='{style}'>{{}}</div>"
            page = Page(html.format(NOTICE), html.format(NOTICE[::-1]))
            assert await judge.can_see(page, 1280, "light") is seen, style


@dataclass
class Judge:
    """Compares pictures of pages. ``first``: a script to run before each, such as one that scrolls."""

    tab: Tab
    frame: str = ""
    first: str = ""

    async def prepare(self) -> None:
        tree = await self.tab.call("Page.getFrameTree")
        self.frame = tree["frameTree"]["frame"]["id"]

    async def can_see(self, page: Page, width: int, scheme: str) -> bool:
        """Whether a reader on such a screen can tell the notice from its letters in another order."""
        await self.tab.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=800, deviceScaleFactor=1, mobile=False
        )
        await self.tab.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        return await self._differ(await self._picture(page.html), await self._picture(page.turned))

    async def _picture(self, html: str) -> str:
        await self.tab.call("Page.setDocumentContent", frameId=self.frame, html=html)
        if self.first:
            await self.tab.call("Runtime.evaluate", expression=self.first)
        taken = await self.tab.call("Page.captureScreenshot", format="png", captureBeyondViewport=False)
        data: str = taken["data"]
        assert base64.b64decode(data[:16])
        return data

    async def _differ(self, one: str, other: str) -> bool:
        if one == other:
            return False
        await self.tab.call("Page.setDocumentContent", frameId=self.frame, html="<canvas></canvas>")
        script = _COMPARE.replace("ONE", json.dumps(one)).replace("OTHER", json.dumps(other))
        answer = await self.tab.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        return int(answer["result"]["value"]) > DIFFERENT


_COMPARE = """(async () => {
const pixels = async (data) => {
  const image = new Image();
  image.src = "data:image/png;base64," + data;
  await image.decode();
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [image.width, image.height];
  const context = canvas.getContext("2d");
  context.drawImage(image, 0, 0);
  return context.getImageData(0, 0, image.width, image.height).data;
};
const [first, second] = [await pixels(ONE), await pixels(OTHER)];
let most = 0;
for (let i = 0; i < first.length; i++) most = Math.max(most, Math.abs(first[i] - second[i]));
return most;
})()"""


COMPOUNDS = (
    "div", "p", "*", ".foot", ".a", "#n", "[class]", "[class^=f]", "[title='x y']", "[lang|=en]", ":first-child",
    ":not(.a)",
    ":last-child", "p:nth-child(2n+1)", ":nth-last-child(2)", "div:first-of-type", ":only-child", ":empty",
    ":is(.foot,p)",
    ":where(div,.a)", "p:not(:first-child)", ":has(b)", "div:has(> p)", ":root", "b.a", ".a.foot", "td", "body",
    ":hover",
    "a:link", "[CLASS=foot]", "[class=FOOT i]", ":nth-of-type(2)", ":not(:hover)", ":is(:not(p))", ".\\66oot",
)  # fmt: skip


async def test_selectors_match_as_in_a_browser(tmp_path: Path) -> None:
    """The cascade stands on Lexbor's matching; where it matches nothing that a browser does, a notice could hide."""
    dice, wrong = random.Random(SEED), []
    elements = (
        "<div class=foot lang=en>",
        "<p class='a foot'>",
        "<b id=n>",
        "</div>",
        "<p>",
        "<a href=x>",
        "<td>",
        "<table>",
        "x ",
    )
    async with open_tab(tmp_path / "browser") as tab:
        await tab.open("data:text/html,<p>mail")
        frame = (await tab.call("Page.getFrameTree"))["frameTree"]["frame"]["id"]
        for _ in range(EXAMPLES // 20):
            body = "".join(dice.choice(elements) for _ in range(20))
            html = f"<!doctype html><html><head></head><body><h1>News</h1>{body}</body></html>"
            await tab.call("Page.setDocumentContent", frameId=frame, html=html)
            for _ in range(20):
                selector = dice.choice((" ", " > ", " + ", " ~ ")).join(
                    dice.choices(COMPOUNDS, k=dice.choice((1, 2, 3)))
                )
                script = f"[...document.querySelectorAll({json.dumps(selector)})].map(e => e.tagName.toLowerCase())"
                known = sheet_of(f"{selector}{{display:none}}")
                tree = LexborHTMLParser(html)
                nodes = {node.mem_id: node for rule in known.rules for node in tree.css(rule.selector)}
                found = sorted(node.tag for node in nodes.values())
                if not known.doubt and found != (expected := sorted(await tab.ask(script))):
                    wrong.append((selector, expected, found, body))
    assert wrong == []

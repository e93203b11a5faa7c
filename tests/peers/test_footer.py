"""Chromium as the judge of the footer: every trick of the case files, aimed at it, leaves it visible or is refused.

A page is drawn twice, with other letters in the notice: if both pictures are the same, nobody can see it.
"""

from __future__ import annotations

import csv
import os
import random
import re
from pathlib import Path

import pytest

from bench import programs
from policy.footer.notice import Notice, Run
from policy.footer.page import NoticePage, NotWritable
from policy.reading_budget import ReadingBudget
from tests.peers.browser import open_tab
from tests.peers.test_visibility import SCREENS, SEED, VALUES, Judge, Page

pytestmark = [pytest.mark.peer, pytest.mark.skipif(bool(programs.absent("chromium")), reason="Chromium is not here")]

EXAMPLES = int(os.environ.get("FOOTER_EXAMPLES", "30"))
TRICKS = Path(__file__).parents[1] / "cases/permission/tricks.tsv"
AIMS = (
    "body *", "body > *", "[style]", "div, a", ":last-child", "[role=contentinfo]", "[role=contentinfo] *", "*",
    "html", "body", "h1, p", ":not(h1)", "div div, div a", "body > div:last-of-type", "a[href]", "[lang]", ":has(a)",
)  # fmt: skip
PSEUDO = ("::before", "::after", "::first-line", "::first-letter")
COVERS = (
    "outline:9999px solid #333", "box-shadow:0 0 0 9999px #333;display:inline-block", "float:left;height:600px",
    "position:fixed;inset:0;background:#fff;z-index:2147483647", "margin-bottom:-200px;height:300px;background:#fff",
    "transform:scale(40)", "border:900px solid #333", "font-size:150px", "display:flex", "columns:9", "zoom:9",
    "perspective:1px", "direction:rtl;text-indent:-9999px", "display:grid;grid-template-rows:0", "overflow:hidden",
    "all:unset;display:none", "font-family:none;font-size:0", "color-scheme:dark;background:#000;color:#000",
)  # fmt: skip
TAILS = (
    "<div style='display:none'>",
    "<table><tr><td style='font-size:0'>",
    "<select>",
    "<!--",
    "<style>",
    "<b><font color=white>",
)


def declarations() -> list[str]:
    """What the tricks declare for the imprint."""
    with TRICKS.open(newline="") as lines:
        rows = list(csv.DictReader(lines, delimiter="\t"))
    found = [match[1] for row in rows if row["kind"] in ("style of the imprint", "style sheet")
             for match in re.finditer(r"\{([^{}]+)\}", row["trick"])]  # fmt: skip
    assert len(found) > 40
    return list(dict.fromkeys(found))


def important(style: str) -> str:
    return ";".join(f"{part} !important" for part in style.split(";") if part.strip())


def pages(html: str) -> list[Page] | None:
    """The page with the footer, beside it with other letters in its imprint, and in its link; None if refused."""
    try:
        page = NoticePage(html, ReadingBudget())
    except NotWritable:
        return None

    def written(imprint: str, link: str) -> str:
        notices = (Notice("imprint", {"en": (Run(imprint),)}),
                   Notice("unsubscribe", {"en": (Run(link, "https://mail.example.com/u/x"),)}))  # fmt: skip
        return page.write(notices, "en")

    right = written("Voorbeeld B.V., Keizersgracht 1", "Unsubscribe")
    return [Page(right, written("MMMMMMMMM, Wwwwwwwwwwwwww 8", "Unsubscribe")),
            Page(right, written("Voorbeeld B.V., Keizersgracht 1", "MMMMMMMMMMM"))]  # fmt: skip


def html_with(css: str, tail: str = "") -> str:
    return f"<!doctype html><html lang=en><head><style>{css}</style></head><body><h1>News</h1><p>text</p>{tail}"


_SCROLL = """{
const top = document.querySelector("[role=contentinfo]")?.getBoundingClientRect().top ?? 0;
if (top < 4000) window.scrollTo(0, top - 200);
}"""  # as a reader would; none reads on for ever


async def judged(tmp_path: Path, documents: list[str]) -> tuple[int, list[str]]:
    """How many are written into, and those where the footer cannot be seen."""
    made, unseen = 0, []
    async with open_tab(tmp_path / "browser") as tab:
        await tab.open("data:text/html,<p>mail")
        judge = Judge(tab, first=_SCROLL)
        await judge.prepare()
        for html in documents:
            written = pages(html)
            if written is None:
                continue
            made += 1
            for width, scheme in SCREENS:
                if not all([await judge.can_see(page, width, scheme) for page in written]):
                    unseen.append(f"{width} {scheme}: {html}")
                    break
    return made, unseen


async def test_no_trick_hides_the_footer(tmp_path: Path) -> None:
    sheets = ["".join(f"{aim}{{{important(style)}}}" for aim in AIMS[:7]) for style in declarations()]
    made, unseen = await judged(tmp_path, [html_with(css) for css in sheets])
    assert made > 10, "most of them only try"
    assert "\n".join(unseen) == ""


@pytest.mark.nightly
async def test_no_neighbour_covers_it(tmp_path: Path) -> None:
    pages = [
        html_with(f"{aim}{{{style}}}") for style in COVERS for aim in ("h1, p", "html", "body", "body *", "p::after")
    ]
    made, unseen = await judged(tmp_path, pages[:: max(1, 120 // EXAMPLES)])  # a sample; nightly all of them
    assert made > 3
    assert "\n".join(unseen) == ""


@pytest.mark.nightly
async def test_nothing_that_stays_open_holds_it(tmp_path: Path) -> None:
    made, unseen = await judged(tmp_path, [html_with("td{color:#fff}", tail) for tail in TAILS])
    assert made == len(TAILS)
    assert "\n".join(unseen) == ""


@pytest.mark.nightly
async def test_styles_made_at_random_do_not_hide_it(tmp_path: Path) -> None:
    dice, documents = random.Random(SEED), []
    for _ in range(EXAMPLES):
        style = ";".join(
            f"{name}:{dice.choice(VALUES[name])}" for name in dice.choices(list(VALUES), k=dice.choice((1, 2, 3)))
        )
        aim = dice.choice(AIMS) + (dice.choice(PSEUDO) if dice.random() < 0.15 else "")
        documents.append(html_with(f"{aim}{{{important(style)}}}", dice.choice(("", *TAILS))))
    made, unseen = await judged(tmp_path, documents)
    assert made > EXAMPLES // 4
    assert "\n".join(unseen) == ""

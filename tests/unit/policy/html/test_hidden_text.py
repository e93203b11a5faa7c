"""Following only the looks that have a part in hiding something finds the same as following all of them."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policy.html import hidden_text
from policy.html.css import StyleRule
from policy.html.document import HtmlDocument
from policy.html.hidden_text import Groups, _Suspects

STYLES = (
    "color:#fff", "color:#000", "color:#036", "background:#fff", "background:#036", "background:#036;color:#fff",
    "background:url(x.png)", "color:#fff;background:#fefefe", "display:none", "display:none;color:#fff",
    "display:none;font-size:0", "visibility:hidden", "visibility:visible", "font-size:0", "font-size:14px", "opacity:0",
    "display:block", "max-height:0;overflow:hidden", "line-height:2", "",
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


def all_looks(groups: Groups, rules: Sequence[StyleRule]) -> _Suspects:
    return _Suspects(frozenset(groups).union(rule.look for rule in rules), coloured=True)


def shown_and_hidden(html: str) -> tuple[str, list[tuple[str, str]]]:
    page = HtmlDocument(html)
    return page.text, sorted((hidden.text, hidden.how.value) for hidden in page.hidden)


@settings(max_examples=500, deadline=None)
@given(pages())
def test_suspects_are_enough(html: str) -> None:
    found = shown_and_hidden(html)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hidden_text, "_suspects", all_looks)
        assert shown_and_hidden(html) == found

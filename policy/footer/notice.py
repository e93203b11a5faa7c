"""A notice that the service writes into the text of a message, in the languages that it is there in.

In a page it stands in a block of its own, every element with every property that matters, ``!important``: no style
sheet outranks that (CSS Cascade 5, 6.1), no font of the page has the name of a generic family, and nothing lies over
the last element with the highest ``z-index``.
"""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple


class Run(NamedTuple):
    """A piece of a notice: a text, or a link if ``url`` is given."""

    text: str
    url: str = ""


@dataclass(frozen=True, slots=True)
class Notice:
    """``name``: that of its placeholder, ``{{name}}``. ``wordings``: by language, the one to use where the text's
    language is not among them first; one run a line."""

    name: str
    wordings: Mapping[str, tuple[Run, ...]]

    def language(self, spoken: str) -> str:
        """Return the language that it is written in where ``spoken`` is."""
        return spoken if spoken in self.wordings else next(iter(self.wordings))

    def runs(self, spoken: str) -> tuple[Run, ...]:
        return self.wordings[self.language(spoken)]


_SHOWN = {
    "all": "initial", "visibility": "visible", "opacity": "1", "position": "relative", "z-index": "2147483647",
    "inset": "auto", "float": "none", "clear": "both", "box-sizing": "border-box", "width": "auto",
    "max-width": "none", "height": "auto", "max-height": "none", "overflow": "visible", "clip": "auto",
    "clip-path": "none", "mask": "none", "filter": "none", "transform": "none", "zoom": "1", "contain": "none",
    "content-visibility": "visible", "animation": "none", "transition": "none", "writing-mode": "horizontal-tb",
    "direction": "ltr", "unicode-bidi": "isolate", "background": "#fff", "color": "#333",
    "-webkit-text-fill-color": "currentcolor", "font": "13px/20px sans-serif", "letter-spacing": "normal",
    "word-spacing": "normal", "text-indent": "0", "text-align": "left", "text-transform": "none",
    "text-shadow": "none", "white-space": "normal", "overflow-wrap": "anywhere", "mso-hide": "none",
}  # fmt: skip
_BLOCK = {"display": "block", "min-width": "240px", "margin": "0", "padding": "12px"}
_LINE = {"display": "block", "margin": "0", "padding": "0"}
_LINK = {"display": "inline", "margin": "0", "padding": "4px 0", "color": "#0645ad", "text-decoration": "underline"}


def _style(*properties: Mapping[str, str]) -> str:
    joined = {name: value for each in (_SHOWN, *properties) for name, value in each.items()}
    return ";".join(f"{name}:{value} !important" for name, value in joined.items())


BLOCK, LINE, LINK = _style(_BLOCK), _style(_LINE), _style(_LINK, {"clear": "none"})


def as_block(notices: Sequence[Notice], spoken: str) -> str:
    """Return the HTML of the block that shows ``notices`` where the language is ``spoken``."""
    lines = "".join(
        f'<div lang="{notice.language(spoken)}" style="{LINE}">{_joined(notice.runs(spoken), LINK)}</div>'
        for notice in notices
    )
    return f'<div role="contentinfo" dir="ltr" style="{BLOCK}">{lines}</div>'


def in_place(notice: Notice, spoken: str) -> str:
    """Return the HTML of one notice as a part of the page's own text."""
    return f'<span lang="{notice.language(spoken)}">{_joined(notice.runs(spoken), "")}</span>'


def _joined(runs: Sequence[Run], style: str) -> str:
    return " · ".join(_run(run, style) for run in runs)


def _run(run: Run, style: str) -> str:
    text = html.escape(run.text)
    styled = f' style="{style}"' if style else ""
    return f'<a href="{html.escape(run.url)}"{styled}>{text}</a>' if run.url else text


def as_lines(notice: Notice, spoken: str) -> list[str]:
    """Return the lines of one notice in plain text; addresses stand at the end of theirs, so that all of them count."""
    return [f"{run.text}: {run.url}" if run.url else run.text for run in notice.runs(spoken)]

"""The results of ``bench.peers`` as a page of its own: bar charts in SVG, and a table."""

from __future__ import annotations

import html
import itertools
from collections.abc import Mapping, Sequence

from bench.rig import Result

Load = tuple[int, int, int, float]  # octets, messages a connection, domains, milliseconds by which replies are late
BASE = "postfix"  # ratios are to it: it signs nothing

_WIDTH, _LABEL, _BAR, _GAP = 760, 250, 18, 8
_PANELS = (("drain_rate", "messages/s", 0), ("cpu_ms", "CPU ms a message", 2), ("pss_mib", "PSS MiB", 0))
_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #1c2733; }
svg text { font: 12px system-ui, sans-serif; fill: #1c2733; } rect { fill: #9db4c8; } rect.ours { fill: #1f6f5c; }
table { border-collapse: collapse; }
td, th { padding: .2rem .6rem; text-align: right; border-bottom: 1px solid #d5dde4; }
td:first-child, th:first-child { text-align: left; }
@media (prefers-color-scheme: dark) { body { background: #12181e; color: #e4eaf0; } svg text { fill: #e4eaf0; } }"""


def page(
    titles: Mapping[str, str],
    results: Sequence[Result],
    ceilings: Sequence[Mapping[str, float]],
    machine: str,
    at: str,
) -> str:
    """Return the whole page."""
    parts = [
        "<!DOCTYPE html>", '<html lang="en"><head><meta charset="utf-8"><title>Imprimatur beside other MTAs</title>',
        f"<style>{_STYLE}</style></head><body><h1>Imprimatur beside other MTAs</h1>",
        f"<p>{html.escape(machine)}. {html.escape(at)}. Medians; source and sink are on the same machine.</p>",
    ]  # fmt: skip
    alone = {(c["size"], c["per_connection"], c["domains"], c["late_ms"]): c["rate"] for c in ceilings}
    for load, rows in grouped(titles, results):
        parts.append(f"<h2>{html.escape(described(load))}</h2>")
        if load in alone:
            parts.append(f"<p>Source and sink alone: {alone[load]:.0f} messages/s.</p>")
        for name, unit, digits in _PANELS:
            parts.append(chart([(titles[row.contender], getattr(row, name)) for row in rows], unit, digits))
        parts.append(_rows(titles, rows))
    return "\n".join([*parts, "</body></html>\n"])


def chart(bars: Sequence[tuple[str, float]], unit: str, digits: int) -> str:
    """Return horizontal bars as an SVG document; those of Imprimatur are marked."""
    largest = max((value for _, value in bars), default=0) or 1
    height = 24 + len(bars) * (_BAR + _GAP)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height}" viewBox="0 0 {_WIDTH} {height}" '
        f'role="img" aria-label="{html.escape(unit)}">',
        f'<text x="{_LABEL}" y="14" font-weight="bold">{html.escape(unit)}</text>',
    ]
    for n, (title, value) in enumerate(bars):
        y, width = 22 + n * (_BAR + _GAP), value / largest * (_WIDTH - _LABEL - 80)
        ours = ' class="ours"' if title.startswith("Imprimatur") else ""
        parts += [
            f'<text x="{_LABEL - 8}" y="{y + 13}" text-anchor="end">{html.escape(title)}</text>',
            f'<rect{ours} x="{_LABEL}" y="{y}" width="{width:.1f}" height="{_BAR}"/>',
            f'<text x="{_LABEL + width + 6:.1f}" y="{y + 13}">{value:.{digits}f}</text>',
        ]
    return "\n".join([*parts, "</svg>"])


def table(titles: Mapping[str, str], results: Sequence[Result]) -> str:
    """Return all of it as Markdown."""
    lines: list[str] = []
    for load, rows in grouped(titles, results):
        lines += [f"\n**{described(load)}**\n", "| | " + " | ".join(_HEADS) + " |", "| --- |" + " ---: |" * len(_HEADS)]
        base = next((row.drain_rate for row in rows if row.contender == BASE), None)
        lines += [f"| {titles[row.contender]} | {' | '.join(_cells(row, base))} |" for row in rows]
    return "\n".join(lines) + "\n"


def grouped(titles: Mapping[str, str], results: Sequence[Result]) -> list[tuple[Load, list[Result]]]:
    """Return the results of each load, in the order of ``titles``."""
    order = list(titles)
    found = itertools.groupby(sorted(results, key=lambda row: (_load(row), order.index(row.contender))), _load)
    return [(load, list(rows)) for load, rows in found]


def described(load: Load) -> str:
    size, per_connection, domains, late = load
    kept = "a connection for each message" if per_connection == 1 else f"{per_connection} messages a connection"
    spread = "1 domain" if domains == 1 else f"{domains:,} domains"
    return f"{size // 1024:,} kB, {spread}, {kept}, replies {late:.0f} ms late"


_HEADS = ("messages/s", "x", "CPU ms", "PSS MiB", "accept p50 ms", "accept p99 ms", "wrong")


def _cells(row: Result, base: float | None) -> list[str]:
    return [
        f"{row.drain_rate:.0f}",
        f"{row.drain_rate / base:.2f}" if base else "-",
        f"{row.cpu_ms:.2f}",
        f"{row.pss_mib:.0f}",
        f"{row.accept_p50_ms:.1f}",
        f"{row.accept_p99_ms:.1f}",
        str(row.lost + row.duplicates + row.refused),
    ]


def _rows(titles: Mapping[str, str], rows: Sequence[Result]) -> str:
    base = next((row.drain_rate for row in rows if row.contender == BASE), None)
    head = "".join(f"<th>{name}</th>" for name in ("", *_HEADS))
    body = "".join(
        f"<tr><td>{html.escape(titles[row.contender])}</td>" + "".join(f"<td>{cell}</td>" for cell in _cells(row, base))
        + "</tr>" for row in rows
    )  # fmt: skip
    return f"<table><tr>{head}</tr>{body}</table>"


def _load(row: Result) -> Load:
    return row.size, row.per_connection, row.domains, row.late_ms

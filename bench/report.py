"""The results as text: one line per run, then Markdown tables of medians for RESULTS.md.

Invariants: Lost, duplicated and rejected messages are always printed.
Limitations: Medians of few rounds: differences below 10 % mean nothing.
"""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Iterable
from dataclasses import fields, replace

from bench.contenders import entries
from bench.rig import Result


def describe(machine: dict[str, str | int | float]) -> str:
    """Describe the machine in one line."""
    return (
        f"{machine['processor']}, {machine['cores']} cores, {machine['memory_gib']} GiB, Linux {machine['kernel']}, "
        f"Python {machine['python']}; "
        f"{machine['rsa2048_signatures_per_core']} RSA-2048 signatures per second and core, "
        f"a million additions in Python take {machine['python_loop_ms']} ms"
    )


def line(number: int, result: Result) -> str:
    """Describe one run."""
    return (
        f"round {number}  {result.contender:9} {load(result):40} "
        f"{result.drain_rate:6.0f}/s ({result.accept_rate:.0f} accepted)  {result.cpu_ms:5.2f} ms CPU  "
        f"{result.pss_mib:4.0f} MiB  lost {result.lost} duplicated {result.duplicates} rejected {result.refused}"
    )


def load(result: Result) -> str:
    """Describe what was sent."""
    domains = "1 domain" if result.domains == 1 else f"{result.domains} domains"
    one = ", 1 message per connection" if result.per_connection == 1 else ""
    late = f", replies {result.late_ms:.0f} ms late" if result.late_ms else ""
    return f"{result.size // 1024} kB, {domains}{one}{late}"


def medians(results: Iterable[Result]) -> list[Result]:
    """Return a result for each contender and load: the medians of all values, the sums of all errors."""
    merged: list[Result] = []
    for _, group in itertools.groupby(sorted(results, key=_key), key=_key):
        runs = list(group)
        figures = {
            field.name: statistics.median(getattr(run, field.name) for run in runs)
            for field in fields(Result)
            if isinstance(getattr(runs[0], field.name), float)
        }
        wrong = {name: sum(getattr(run, name) for run in runs) for name in ("lost", "duplicates", "refused")}
        merged.append(replace(runs[0], **figures, **wrong))
    return merged


def tables(results: list[Result]) -> str:
    """Return a Markdown table for each load with all contenders; "x" is the multiple of Postfix + OpenDKIM."""
    tools = statistics.median(result.tools_ms for result in results)
    wrong = sum(result.lost + result.duplicates + result.refused for result in results)
    groups = itertools.groupby(sorted(results, key=_load_key), key=_load_key)
    parts = [table(list(group)) for _, group in groups]
    parts.append(f"Lost, duplicated or rejected messages over all runs: {wrong}.")
    parts.append(f"Source, sink and resolver used another {tools:.2f} ms of CPU time per message.")
    return "\n" + "\n".join(parts)


def table(results: list[Result]) -> str:
    """Return the table of one load."""
    titles = {entry.name: entry.title for entry in entries()}
    rows = sorted(results, key=lambda result: list(titles).index(result.contender))
    pair = next((row.drain_rate for row in rows if row.contender == "opendkim"), None)
    lines = [
        f"**{load(rows[0])}**\n",
        "| | messages/s end to end | x | accepted/s | CPU ms per message | peak PSS / RSS MiB | processes |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for row in rows:
        times = f"{row.drain_rate / pair:.2f}" if pair else "-"
        memory = f"{row.pss_mib:.0f} / {row.rss_mib:.0f}"
        cells = (
            f"**{row.drain_rate:.0f}**",
            times,
            f"{row.accept_rate:.0f}",
            f"{row.cpu_ms:.2f}",
            memory,
            str(row.processes),
        )
        lines.append(f"| {titles[row.contender]} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _load_key(result: Result) -> tuple[int, int, int, float]:
    return (-result.per_connection, result.size, result.domains, result.late_ms)


def _key(result: Result) -> tuple[str, int, int, int, float]:
    return (result.contender, *_load_key(result))

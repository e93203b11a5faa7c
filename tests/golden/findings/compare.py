"""What the rules find in messages that are made by number, kept so that work on speed changes none of it.

    python -m tests.golden.findings.compare                  # compare with golden.json
    python -m tests.golden.findings.compare --write          # after rules or words were meant to change
    python -m tests.golden.findings.compare --against main   # show what differs from another state of the repository

``golden.json`` has for each rule how often it gave which verdict, and a digest of all its findings in order.
*reading*: what was read of the message; *message*: its answer, and the octets that left.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from functools import cache
from hashlib import sha256
from itertools import zip_longest
from pathlib import Path
from typing import Any

from bench.newsletter import CONTEXT, NOW, READER
from mta.mail.message import Stream
from policy.base import Finding
from policy.chain import Chain, personalise, screen
from policy.mailing.reference import ReadMessage, References, UnfitReference, compile_reference, source_of
from policy.permission.tokens import SampleTokens
from policy.profile import Profiles
from policy.text.message_text import MessageText
from tests.golden.findings.messages import Case, case

GOLDEN = Path(__file__).with_name("golden.json")
ROOT = Path(__file__).parents[3]
FEW, MANY = 200, 5_000  # messages: in each run of the tests, and in the nightly one
SHOWN = 40  # differences that are printed


def findings_of(case: Case) -> list[Finding]:
    """Return all that the chain of some profile finds, and what becomes of the message."""
    message, facts = case.message, case.facts
    chains = _chains(facts.stream)
    chain = chains[case.number % len(chains)]
    if case.number % 5 == 1:
        facts = replace(facts, reference=_compared(case))
    shared = screen(chain, message, facts, NOW)
    findings, last = [*shared.findings], shared
    if shared.refusal is None:
        last = personalise(chain, shared.message, facts, NOW)
        findings += last.findings
    said = f"{last.refusal} {last.holds} {last.dropped} {last.signers} {last.errors}"
    octets = sha256(last.message.content).hexdigest()[:16]
    return [*findings, *_reading(facts.reading), Finding("message", "octets", f"{said} {octets}")]


def _reading(reading: MessageText) -> Iterator[Finding]:
    """Yield a digest for each thing that is read of a message."""
    views = [(view.text, [(link.url, link.words, link.around) for link in view.links]) for view in reading.views]
    things = {
        "views": views, "text": reading.text, "html_text": reading.html_text, "images": reading.images,
        "hidden": reading.hidden, "unproven": reading.unproven, "attachments": reading.attachments,
    }  # fmt: skip
    for name, thing in things.items():
        yield Finding("reading", name, sha256(repr(thing).encode("utf-8", "backslashreplace")).hexdigest()[:16])
    yield Finding("reading", "fault", reading.fault)


@cache
def _chains(stream: Stream) -> tuple[Chain, ...]:
    profiles = Profiles.shipped(replace(CONTEXT, tokens=SampleTokens()))
    found = (profiles.chain(name, stream) for name in sorted(profiles.names))
    return tuple(chain for chain in found if chain is not None)


def _compared(case: Case) -> Any:
    """Return how a message compares with one that was confirmed: with itself, or with the one made after it."""
    message, content = case.message, case.message.content
    confirmed = content if case.number % 2 else case_content(case.number + 1)
    try:
        references = References((compile_reference(1, source_of(confirmed)),))
    except UnfitReference:
        return None
    reading = MessageText(content)
    return references.compare(ReadMessage.of(message.headers, reading, message.size, [READER]))


def case_content(number: int) -> bytes:
    return case(number).message.content


def found(count: int) -> Iterator[list[Finding]]:
    """Yield the findings of the first ``count`` messages."""
    for number in range(count):
        yield findings_of(case(number))


def summary(messages: Iterable[list[Finding]]) -> dict[str, dict[str, Any]]:
    """Return what ``golden.json`` keeps of the findings."""
    verdicts: dict[str, Counter[str]] = defaultdict(Counter)
    digests: dict[str, Any] = defaultdict(sha256)
    for number, findings in enumerate(messages):
        for each in findings:
            verdicts[each.policy][each.verdict] += 1
            line = f"{number}\t{each.verdict}\t{each.evidence}\t{each.recipient}\n"
            digests[each.policy].update(line.encode("utf-8", "backslashreplace"))
    return {
        rule: {"digest": digests[rule].hexdigest()[:16], **dict(sorted(verdicts[rule].items()))}
        for rule in sorted(verdicts)
    }


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return a line for each rule whose findings are others."""
    rules = sorted({*before, *now})
    return [f"{rule}: {before.get(rule)} -> {now.get(rule)}" for rule in rules if before.get(rule) != now.get(rule)]


def golden() -> dict[str, dict[str, Any]]:
    """Return what was kept, by the number of messages."""
    kept: dict[str, dict[str, Any]] = json.loads(GOLDEN.read_text())
    return kept


def against(state: str, count: int) -> Iterator[str]:
    """Yield a line for each finding that differs from what the repository finds at ``state``."""
    with tempfile.TemporaryDirectory() as folder:
        tree = str(Path(folder) / "tree")
        subprocess.run(["git", "-C", ROOT, "worktree", "add", "-q", "--detach", tree, state], check=True)
        try:
            dump = [sys.executable, "-m", "tests.golden.findings.compare", "--dump", "--count", str(count)]
            old = subprocess.run(dump, cwd=tree, check=True, capture_output=True, text=True).stdout
        finally:
            subprocess.run(["git", "-C", ROOT, "worktree", "remove", "--force", tree], check=True)
    for number, (line, findings) in enumerate(zip(old.splitlines(), found(count), strict=True)):
        before = [Finding(*each) for each in json.loads(line)]
        for one, other in zip_longest(before, findings):
            if one != other:
                yield f"{number}: {one}\n{' ' * len(str(number))}  {other}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="keep what is found now")
    parser.add_argument("--against", metavar="REF", help="another state of the repository")
    parser.add_argument("--dump", action="store_true", help="print all findings, a message a line")
    parser.add_argument("--count", type=int, default=MANY)
    options = parser.parse_args()
    if options.dump:
        for findings in found(options.count):
            print(json.dumps(findings))
    elif options.against:
        lines = list(against(options.against, options.count))
        print("\n".join(lines[:SHOWN]), f"{len(lines)} findings of {options.count} messages differ", sep="\n")
        sys.exit(bool(lines))
    else:
        every = list(found(MANY))
        now = {str(count): summary(every[:count]) for count in (FEW, MANY)}
        if options.write:
            GOLDEN.write_text(json.dumps(now, indent=0, sort_keys=True) + "\n")
        lines = differences(golden()[str(MANY)], now[str(MANY)])
        print("\n".join(lines) or f"the findings of {MANY} messages are the same")
        sys.exit(bool(lines))


if __name__ == "__main__":
    main()

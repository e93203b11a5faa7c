"""How well returned mail is understood, on a labelled corpus (that of Sisimai, BSD-2-Clause).

    SISIMAI_CORPUS=folder python -m bench.bounces [--quiet]

The folder holds ``labels.tsv`` (file, index, dsn, replycode, reason, hardbounce) and ``mails/``. Printed for all mails,
and for two parts of them (a third was held out, by hash of the file name, while the rules were first written):

* *found*: share of labelled recipients with an address and a status of the labelled class;
* *status*: share with the labelled status, where that is a real one (5.0.9xx are Sisimai's own);
* *hard*: precision and recall of "hard", as labelled, but for labels that contradict the plain words (listed);
* the time per mail; then each family, the confusion of their reasons with our categories, and every miss.

Limitations: A label has no address, so any address counts as found. Labels are the output of another program.
"""

from __future__ import annotations

import argparse
import csv
import os
import re
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from bounce.classify import Classifier
from bounce.parsers.report_kinds import ReportedRecipient
from bounce.report import read
from bounce.rules import load_rules
from mta.cli.message.classify import mails_in


@dataclass(frozen=True, slots=True)
class Label:
    file: str
    index: int
    status: str
    reason: str
    hard: bool

    @property
    def is_held_out(self) -> bool:
        return sha256(b"imprimatur-held" + self.file.encode()).digest()[0] % 3 == 0

    @property
    def has_own_status(self) -> bool:
        """Whether the status is real: not invented by Sisimai, not unspecific."""
        return bool(self.status) and not self.status.startswith(("5.0.9", "4.0.9")) and not self.status.endswith(".0.0")


# "filtered" and "suspend" say that a filter refused; where the quoted words say nothing but this, the words count.
_PLAIN_WORDS = re.compile(
    r"user unknown|unknown user|no such (?:user|recipient|account|mailbox|address)|user not found|unknown recipient"
    r"|(?:does not|doesn.t|do not) (?:exist|have an? )|not found|not known|unknown address|invalid (?:recipient|user)"
    r"|mailbox unavailable or access denied|unknown local[- ]part|not a valid|no longer|unknown",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Found:
    """A labelled recipient, the result for it, and the milliseconds that its mail took."""

    label: Label
    part: ReportedRecipient | None
    milliseconds: float

    @property
    def is_found(self) -> bool:
        if self.part is None or self.part.address is None:
            return False
        invented = self.label.status.startswith(("5.0.9", "4.0.9")) or not self.label.status
        return invented or self.part.status[:1] == self.label.status[:1]

    @property
    def is_contradicted(self) -> bool:
        """Whether the label says that a filter refused, and the mail plainly that there is no such user."""
        said = self.part.diagnostic if self.part else ""
        return self.label.reason in ("filtered", "suspend") and not self.label.hard and bool(_PLAIN_WORDS.search(said))

    @property
    def category(self) -> str:
        if self.part is None:
            return "(nothing)"
        return self.part.classification.category if self.part.classification else self.part.action.value


def measure(corpus: Path) -> list[Found]:
    """Return the results for all labelled recipients, in order."""
    classifier = Classifier(load_rules())
    labels: dict[str, list[Label]] = defaultdict(list)
    with (corpus / "labels.tsv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file, delimiter="\t"):
            label = Label(row["file"], int(row["index"]), row["dsn"], row["reason"], row["hardbounce"] == "1")
            labels[label.file].append(label)
    found = []
    for name, wanted in sorted(labels.items()):
        content = (corpus / "mails" / name).read_bytes()
        mails = list(mails_in(content))
        start = time.process_time()
        parts = [part for mail in mails for part in read(mail, classifier).recipients]
        milliseconds = (time.process_time() - start) * 1000 / len(mails)
        for label in wanted:
            part = parts[label.index - 1] if label.index <= len(parts) else None
            found.append(Found(label, part, milliseconds))
    return found


def scores(title: str, found: Sequence[Found]) -> str:
    """Return one line of scores."""
    known = sum(one.is_found for one in found)
    own = [one for one in found if one.label.has_own_status]
    exact = sum(one.part is not None and one.part.status == one.label.status for one in own)
    plain = [one for one in found if not one.is_contradicted]
    true = sum(one.label.hard and one.part is not None and one.part.hard for one in plain)
    said = sum(one.part is not None and one.part.hard for one in plain)
    meant = sum(one.label.hard for one in plain)
    times = sorted({one.label.file: one.milliseconds for one in found}.values())
    return (
        f"{title:12} {len(found):4} recipients  found {_share(known, len(found))}  status {_share(exact, len(own))}  "
        f"hard: precision {_share(true, said)} recall {_share(true, meant)}  p99 {times[int(len(times) * 0.99)]:.1f} ms"
    )


def _share(part: int, whole: int) -> str:
    return f"{part / whole:6.1%}" if whole else "     -"


def families(found: Iterable[Found]) -> list[str]:
    """Return the scores of each family of mail systems (lhost-*, rhost-*, ...), the worst first."""
    groups: dict[str, list[Found]] = defaultdict(list)
    for one in found:
        groups[re.sub(r"-\d+\.eml$", "", one.label.file)].append(one)
    worst = sorted(groups.items(), key=lambda item: sum(one.is_found for one in item[1]) / len(item[1]))
    return [scores(name.removeprefix("lhost-")[:12], group) for name, group in worst]


def without_each_family(found: Sequence[Found]) -> str:
    """Return the lowest shares over all families left out in turn: how much the whole rests on one of them."""
    names = sorted({one.label.file.rpartition("-")[0] for one in found})
    shares = []
    for name in names:
        rest = [one for one in found if one.label.file.rpartition("-")[0] != name]
        shares.append((sum(one.is_found for one in rest) / len(rest), name))
    lowest, highest = min(shares), max(shares)
    return (
        f"one family left out: found {lowest[0]:.1%} (without {lowest[1]}) to {highest[0]:.1%} (without {highest[1]})"
    )


def confusion(found: Iterable[Found]) -> list[str]:
    """Return a line for each labelled reason with our categories, the most frequent first."""
    table: dict[str, Counter[str]] = defaultdict(Counter)
    for one in found:
        table[one.label.reason][one.category] += 1
    return [
        f"{reason:17} {sum(counts.values()):4}  " + ", ".join(f"{name} {n}" for name, n in counts.most_common())
        for reason, counts in sorted(table.items(), key=lambda item: -sum(item[1].values()))
    ]


def misses(found: Iterable[Found]) -> list[str]:
    """Return a line for each result that differs from its label."""
    lines = []
    for one in found:
        label, part = one.label, one.part
        where = f"{label.file} #{label.index} {label.reason} {label.status}"
        rule = part.classification.rule if part and part.classification else "-"
        said = f"{part.status} {one.category} by {rule}" if part else "nothing"
        if not one.is_found:
            lines.append(f"not found    {where}: {said}")
        elif label.has_own_status and part is not None and part.status != label.status:
            lines.append(f"status       {where}: {said}")
        if one.is_contradicted and part is not None and part.hard:
            lines.append(f"plain words  {where}: {' '.join(part.diagnostic.split())[:80]!r}")
        elif label.hard != (part is not None and part.hard):
            lines.append(f"{'missed hard' if label.hard else 'WRONGLY HARD'}  {where}: {said}")
    return sorted(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quiet", action="store_true", help="scores only")
    options = parser.parse_args()
    corpus = Path(os.environ.get("SISIMAI_CORPUS", ""))
    if not (corpus / "labels.tsv").is_file():
        print("set SISIMAI_CORPUS to a folder with labels.tsv and mails/", file=sys.stderr)
        return 2
    found = measure(corpus)
    print(scores("all", found))
    print(scores("tuned on", [one for one in found if not one.label.is_held_out]))
    print(scores("held out", [one for one in found if one.label.is_held_out]))
    print(without_each_family(found))
    if not options.quiet:
        print("", *families(found), sep="\n")
        print("", *confusion(found), "", *misses(found), sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

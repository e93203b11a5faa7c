"""How well returned mail is understood, on a labelled corpus (that of Sisimai, BSD-2-Clause), each family left out.

    SISIMAI_CORPUS=folder python -m bench.bounces [--quiet]

The folder holds ``labels.tsv`` (file, index, dsn, replycode, reason, hardbounce) and ``mails/``. Printed for all mails,
for all but with each family (lhost-exim, rhost-google, ...) read without the patterns and codes that only that family
taught (those that fit no reply of another one), for each family, and for the replies alone, as if they came in-band:

* *found*: share of labelled recipients with an address and a status of the labelled class;
* *status*: share with the labelled status, where that is a real one (5.0.9xx are Sisimai's own);
* *hard*, *suppress*: precision and recall by the plain words; ``bounce_labels.tsv`` has the labels that contradict
  them, with the reason;
* ordinary mail taken for a bounce; the time per mail; every miss.

Limitations: A label has no address, so any address counts as found. Labels are the output of another program. The words
of the grammar are not taken away with a family.
"""

from __future__ import annotations

import argparse
import csv
import os
import re
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bench.ordinary_mail import ordinary_mail
from bounce.classify import Classifier
from bounce.parsers.report_kinds import ReportedRecipient, ReportKind
from bounce.reply_index import searchable
from bounce.report import read
from bounce.rules import BounceRule, RuleBook, load_rules
from mta.cli.message.classify import mails_in
from mta.mail.delivery import Stage
from mta.mail.reply import ReplyKind

CORRECTIONS = Path(__file__).with_name("bounce_labels.tsv")
QUIET = Path(__file__).parents[1] / "tests/unit/bounce/samples/quiet"
_OF_THE_DOMAIN = ("hostunknown", "notaccept")  # hard, but the address is not suppressed at once

Part = tuple[str, int]  # a rule and one of its patterns; -1: its codes


@dataclass(frozen=True, slots=True)
class Label:
    """``reads``: hard or soft by the plain words; none: no recipient of ours that failed."""

    file: str
    index: int
    status: str
    reason: str
    reads: str

    @property
    def family(self) -> str:
        return re.sub(r"-\d+\.eml$", "", self.file)

    @property
    def has_own_status(self) -> bool:
        """Whether the status is real: not invented by Sisimai, not unspecific."""
        return bool(self.status) and not self.status.startswith(("5.0.9", "4.0.9")) and not self.status.endswith(".0.0")

    @property
    def is_suppressed(self) -> bool:
        return self.reason == "suspend" or (self.reads == "hard" and self.reason not in _OF_THE_DOMAIN)


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
    def is_hard(self) -> bool:
        return self.part is not None and self.part.hard

    @property
    def suppresses(self) -> bool:
        return self.part is not None and self.part.suppress

    @property
    def said(self) -> str:
        found = self.part.classification if self.part else None
        return f"{self.part.status} {found.category} by {found.rule}" if self.part and found else "nothing"


def labels_of(corpus: Path) -> Iterator[Label]:
    """Yield the labels, corrected by what the plain words say."""
    with CORRECTIONS.open(encoding="utf-8") as file:
        reads = {(row["file"], row["index"]): row["reads"] for row in csv.DictReader(file, delimiter="\t")}
    with (corpus / "labels.tsv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file, delimiter="\t"):
            labelled = "hard" if row["hardbounce"] == "1" else "soft"
            meant = reads.get((row["file"], row["index"]), labelled)
            yield Label(row["file"], int(row["index"]), row["dsn"], row["reason"], meant)


def measure(corpus: Path, classifier: Classifier, labels: Iterable[Label]) -> list[Found]:
    """Return the results for the recipients of ``labels``, in order of their files."""
    by_file: dict[str, list[Label]] = defaultdict(list)
    for label in labels:
        by_file[label.file].append(label)
    found = []
    for name, wanted in sorted(by_file.items()):
        mails = list(mails_in((corpus / "mails" / name).read_bytes()))
        start = time.process_time()
        parts = [part for mail in mails for part in read(mail, classifier).recipients]
        milliseconds = (time.process_time() - start) * 1000 / len(mails)
        for label in wanted:
            part = parts[label.index - 1] if label.index <= len(parts) else None
            found.append(Found(label, part, milliseconds))
    return found


def left_out(corpus: Path, book: RuleBook, found: Sequence[Found]) -> list[Found]:
    """Return the results with each family read without what only it taught."""
    taught = _families_by_part(book, found)
    results = []
    for family in sorted({one.label.family for one in found}):
        own = [one.label for one in found if one.label.family == family]
        rules = tuple(_without(book.rules, {part for part, families in taught.items() if families == {family}}))
        results += measure(corpus, Classifier(replace(book, rules=rules)), own)
    return results


def _families_by_part(book: RuleBook, found: Iterable[Found]) -> Mapping[Part, set[str]]:
    """Return for each pattern, and the codes of each rule without patterns, in which families a reply fits them."""
    families: dict[Part, set[str]] = defaultdict(set)
    for one in found:
        if one.part is None or one.part.reply is None:
            continue
        text = searchable(one.part.reply.text)
        for rule in book.rules:
            if not rule.patterns and one.part.classification and one.part.classification.rule == rule.id:
                families[rule.id, -1].add(one.label.family)
            for n, pattern in enumerate(rule.patterns):
                if pattern.search(text) is not None:
                    families[rule.id, n].add(one.label.family)
    return families


def _without(rules: Iterable[BounceRule], parts: set[Part]) -> Iterator[BounceRule]:
    for rule in rules:
        kept = tuple(pattern for n, pattern in enumerate(rule.patterns) if (rule.id, n) not in parts)
        if kept or (not rule.patterns and (rule.id, -1) not in parts):
            yield replace(rule, patterns=kept)


def in_band(classifier: Classifier, found: Iterable[Found]) -> list[Found]:
    """Return the results for the permanent replies quoted to RCPT TO, classified as if a receiver gave them to us."""
    results = []
    for one in found:
        part = one.part
        if part is None or part.reply is None or part.stage not in (None, Stage.RECIPIENT):
            continue
        if part.reply.kind is ReplyKind.PERMANENT and one.label.reason != "feedback":
            meaning = classifier.classify(part.reply, Stage.RECIPIENT, part.host)
            results.append(replace(one, part=replace(part, classification=meaning)))
    return results


def scores(title: str, found: Iterable[Found]) -> str:
    """Return one line of scores."""
    meant = [one for one in found if one.label.reads != "none"]
    own = [one for one in meant if one.label.has_own_status]
    exact = sum(one.part is not None and one.part.status == one.label.status for one in own)
    return (
        f"{title:20} {len(meant):4}  found {_share(sum(one.is_found for one in meant), len(meant))}"
        f"  status {_share(exact, len(own))}"
        f"  hard {_pair(meant, lambda one: one.label.reads == 'hard', lambda one: one.is_hard)}"
        f"  suppress {_pair(meant, lambda one: one.label.is_suppressed, lambda one: one.suppresses)}"
    )


def _pair(found: Sequence[Found], meant: Callable[[Found], bool], said: Callable[[Found], bool]) -> str:
    """Return precision and recall."""
    both = sum(meant(one) and said(one) for one in found)
    return f"{_share(both, sum(map(said, found)))} /{_share(both, sum(map(meant, found)))}"


def _share(part: int, whole: int) -> str:
    return f"{part / whole:6.1%}" if whole else "     -"


def is_right(one: Found) -> bool:
    """Whether the recipient was found and its failure read as hard, or not, as the words say."""
    return one.label.reads == "none" or (one.is_found and one.is_hard == (one.label.reads == "hard"))


def by_family(found: Iterable[Found]) -> list[tuple[str, list[Found]]]:
    """Return the families (lhost-*, rhost-*, ...), the worst first."""
    groups: dict[str, list[Found]] = defaultdict(list)
    for one in found:
        groups[one.label.family].append(one)
    return sorted(groups.items(), key=lambda item: sum(map(is_right, item[1])) / len(item[1]))


def times(found: Iterable[Found]) -> str:
    each = sorted({one.label.file: one.milliseconds for one in found}.values())
    return (
        f"time per mail: p50 {each[len(each) // 2]:.1f}, p99 {each[int(len(each) * 0.99)]:.1f}, max {each[-1]:.1f} ms"
    )


def ordinary(classifier: Classifier) -> list[tuple[str, bool]]:
    """Return each mail of our own that is no bounce, and whether it is taken for one."""
    mails = [*((path.name, path.read_bytes()) for path in sorted(QUIET.glob("*.eml"))), *ordinary_mail()]
    return [(name, read(content, classifier).kind is ReportKind.BOUNCE) for name, content in mails]


def confusion(found: Iterable[Found]) -> list[str]:
    """Return a line for each labelled reason with our categories, the most frequent first."""
    table: dict[str, Counter[str]] = defaultdict(Counter)
    for one in found:
        found_for = one.part.classification if one.part else None
        table[one.label.reason][found_for.category if found_for else one.part.action.value if one.part else "-"] += 1
    return [
        f"{reason:17} {sum(counts.values()):4}  " + ", ".join(f"{name} {n}" for name, n in counts.most_common())
        for reason, counts in sorted(table.items(), key=lambda item: -sum(item[1].values()))
    ]


def misses(found: Iterable[Found]) -> list[str]:
    """Return a line for each result that differs from what the words say."""
    lines = []
    for one in found:
        where = f"{one.label.file} #{one.label.index} {one.label.reason} {one.label.status}: {one.said}"
        if one.label.reads == "none":
            continue
        if not one.is_found:
            lines.append(f"not found     {where}")
        elif one.label.has_own_status and one.part is not None and one.part.status != one.label.status:
            lines.append(f"status        {where}")
        if one.is_hard != (one.label.reads == "hard"):
            lines.append(f"{'missed hard' if one.label.reads == 'hard' else 'WRONGLY HARD':13} {where}")
        if one.suppresses and not one.label.is_suppressed:
            lines.append(f"SUPPRESSES    {where}")
    return sorted(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quiet", action="store_true", help="scores only")
    options = parser.parse_args()
    corpus = Path(os.environ.get("SISIMAI_CORPUS", ""))
    if not (corpus / "labels.tsv").is_file():
        print("set SISIMAI_CORPUS to a folder with labels.tsv and mails/", file=sys.stderr)
        return 2
    book = load_rules()
    classifier = Classifier(book)
    taken = ordinary(classifier)  # first: it loads the words of every kind
    found = measure(corpus, classifier, labels_of(corpus))
    without = left_out(corpus, book, found)
    print(f"{'':20}       {'':28}         hard: precision / recall, suppress: precision / recall")
    print(scores("all", found))
    print(scores("family left out", without))
    print(scores("replies", in_band(classifier, found)))
    print(scores("replies, left out", in_band(classifier, without)))
    print(times(found))
    print(f"ordinary mail taken for a bounce: {sum(each for _, each in taken)} of {len(taken)}")
    for name in (name for name, each in taken if each):
        print(f"TAKEN FOR A BOUNCE {name}")
    print("", "the worst ten families, left out", *(scores(*each) for each in by_family(without)[:10]), sep="\n")
    if not options.quiet:
        print("", "families, left out", *(scores(*each) for each in by_family(without)), sep="\n")
        print("", "labels and our categories", *confusion(found), "", "misses", *misses(found), sep="\n")
        print("", "misses with the family left out", *(set(misses(without)) - set(misses(found))), sep="\n")
        print("", "labels that contradict the words", CORRECTIONS.read_text(encoding="utf-8"), sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Precision and recall on the corpus of Sisimai (BSD-2-Clause), where it is at hand: set SISIMAI_CORPUS to its folder.

For replies, only what could have come in-band is used: SMTP diagnostics in delivery reports. A ``filtered`` reply that
says nothing but "user unknown" cannot be told from an unknown user by its words, and a closed mailbox is hard to us,
so both are left out of the count.
"""

from __future__ import annotations

import csv
import email
import os
import re
from collections.abc import Iterator
from email.message import Message
from pathlib import Path

import pytest

from bench.bounces import labels_of, measure, misses, scores
from bounce.classify import Classifier
from bounce.rules import load_rules
from mta.mail.delivery import Action
from mta.mail.reply import Reply, ReplyKind

CORPUS = Path(os.environ.get("SISIMAI_CORPUS", "/nonexistent"))
NOT_COUNTED = {"filtered", "suspend", "hostunknown", "notaccept"}  # the last two are a domain's fault, not a mailbox's


def diagnostics(report: Message) -> Iterator[str | None]:
    """The reply behind each recipient of a delivery report, None where there is none."""
    for part in report.walk():
        if part.get_content_type() == "message/delivery-status" and part.is_multipart():
            for block in part.get_payload():
                if isinstance(block, Message) and block["Final-Recipient"]:
                    text = " ".join(str(block["Diagnostic-Code"] or "").split())
                    match = re.match(r"(?i)smtp; *(\d{3}[ -].*)", text)
                    yield re.sub(r" (\d{3})([ -])(?=\d\.\d+\.\d)", r"\n\1\2", match[1]) if match else None


@pytest.mark.skipif(not CORPUS.is_dir(), reason="SISIMAI_CORPUS names no corpus")
def test_precision_first() -> None:
    classifier = Classifier(load_rules())
    replies: dict[str, list[str | None]] = {}
    true, false, missed = 0, [], []
    with (CORPUS / "labels.tsv").open() as labels:
        for row in csv.DictReader(labels, delimiter="\t"):
            name = row["file"]
            if name not in replies:
                replies[name] = list(diagnostics(email.message_from_bytes((CORPUS / "mails" / name).read_bytes())))
            position = int(row["index"]) - 1
            text = replies[name][position] if position < len(replies[name]) else None
            if text is None or row["reason"] in NOT_COUNTED or Reply.read(text).kind is not ReplyKind.PERMANENT:
                continue
            suppresses = classifier.classify(Reply.read(text)).action is Action.SUPPRESS
            hard = row["hardbounce"] == "1"
            true += suppresses and hard
            if suppresses and not hard:
                false.append(f"{row['reason']}: {text}")
            if hard and not suppresses:
                missed.append(f"{row['reason']}: {text}")
    print(f"precision {true / (true + len(false)):.3f}, recall {true / (true + len(missed)):.3f}")
    assert true > 60
    assert len(false) <= 3, "\n".join(false)
    assert len(missed) <= 5, "\n".join(missed)


@pytest.mark.skipif(not CORPUS.is_dir(), reason="SISIMAI_CORPUS names no corpus")
def test_reports() -> None:
    found = measure(CORPUS, Classifier(load_rules()), labels_of(CORPUS))
    meant = [one for one in found if one.label.reads != "none"]
    hard = [one for one in meant if one.label.reads == "hard"]
    said = [one for one in meant if one.is_hard]
    both = sum(one.label.reads == "hard" for one in said)
    print(scores("all", found), *misses(found), sep="\n")
    assert sum(one.is_found for one in meant) / len(meant) >= 0.98
    assert both / len(said) >= 0.98
    assert both / len(hard) >= 0.97

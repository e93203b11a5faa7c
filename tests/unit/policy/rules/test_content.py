"""Content: what is marked waits for a person; adult content goes only where it was agreed."""

from __future__ import annotations

from policy.base import Facts, Scan
from policy.rules.content.content import Content
from tests.unit.policy.make import CONTEXT, account, ask, facts

RULE = Content(Content.Settings(), CONTEXT)


def marked(*labels: str, agreed: bool = False) -> Facts:
    scan = Scan("rspamd", evidence="no action", labels=frozenset(labels))
    return facts(account(adult_agreed=agreed), scans=(Scan("clamav"), scan))


def test_what_is_not_marked_goes() -> None:
    assert ask(RULE, known=facts()) == "pass: nothing is marked"
    assert ask(RULE, known=marked("R_SPF_ALLOW", "MIME_GOOD")) == "pass: nothing is marked"


def test_what_is_marked_for_review_waits() -> None:
    assert ask(RULE, known=marked("MIME_GOOD", "REVIEW_CONTENT")) == (
        "hold: review (content): it is marked (REVIEW_CONTENT) and waits for a review"
    )


def test_adult_content_only_if_that_was_agreed() -> None:
    assert ask(RULE, known=marked("ADULT_CONTENT")) == (
        "refuse: 550 5.7.1 content: it is marked as adult (ADULT_CONTENT), and that was not agreed with account "
        '"shop"; leave it out, or ask for an agreement'
    )
    assert ask(RULE, known=marked("ADULT_CONTENT", agreed=True)) == "pass: adult content as agreed (ADULT_CONTENT)"


def test_an_agreement_does_not_spare_the_look_at_what_is_marked() -> None:
    assert ask(RULE, known=marked("ADULT_CONTENT", "REVIEW_CONTENT", agreed=True)).startswith("hold: ")


def test_the_marks_are_settings() -> None:
    rule = Content(Content.Settings(review=["HATE", "LIBEL"], adult=[]), CONTEXT)
    assert ask(rule, known=marked("LIBEL", "HATE", "ADULT_CONTENT")).startswith(
        "hold: review (content): it is marked (HATE, LIBEL)"
    )
    assert ask(rule, known=marked("ADULT_CONTENT")) == "pass: nothing is marked"

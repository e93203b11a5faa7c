"""Rule files: the shipped one proves itself; a broken one is refused with file, line and rule."""

from __future__ import annotations

from pathlib import Path

import pytest

from bounce.classify import Classifier
from bounce.rules import RuleBook, load_rules, read_rules
from config.toml import ConfigError
from mta.mail.delivery import Action, Fault
from mta.mail.reply import Reply, ReplyKind

ROOT = Path(__file__).parents[3]
BAD = Path(__file__).parent / "bad"


@pytest.fixture(scope="module")
def book() -> RuleBook:
    return load_rules()


def test_every_sample_leads_to_its_rule(book: RuleBook) -> None:
    assert Classifier(book).sample_errors() == []


def test_every_category_is_used_and_explained(book: RuleBook) -> None:
    assert {rule.category for rule in book.rules} == set(book.categories)
    assert all(category.meaning.endswith(".") for category in book.categories.values())


def test_no_shipped_rule_gives_up_on_a_4xx(book: RuleBook) -> None:
    assert {rule.on_4xx for rule in book.rules} == {Action.RETRY}


def test_only_missing_and_closed_mailboxes_suppress(book: RuleBook) -> None:
    suppressing = [rule for rule in book.rules if rule.action is Action.SUPPRESS]
    assert {rule.category for rule in suppressing} == {"bad_mailbox", "inactive_mailbox"}
    assert {rule.fault for rule in suppressing} == {Fault.RECIPIENT}


def test_every_kind_of_reply_has_a_last_rule(book: RuleBook) -> None:
    last = {rule.id: rule for rule in book.rules[-2:]}
    assert last["reply-4xx"].codes == {"4xx"}
    assert last["reply-5xx"].codes == {"5xx"}


def test_example_of_the_document(tmp_path: Path) -> None:
    blocks = (ROOT / "docs/bounces.md").read_text().split("```toml\n")[1:]
    text = next(block for block in blocks if "[[rules]]" in block).partition("```")[0]
    rules = tmp_path / "own.toml"
    rules.write_text(text)
    book = load_rules([rules])
    assert book.rules[0].id == "school-holidays"
    assert Classifier(book).sample_errors() == []


@pytest.mark.parametrize("name", sorted(path.stem for path in BAD.glob("*.toml")))
def test_bad_file(name: str, book: RuleBook) -> None:
    """Each file in ``bad/`` is refused with exactly the lines of the text beside it."""
    with pytest.raises(ConfigError) as caught:
        read_rules((BAD / f"{name}.toml").read_text(), "FILE", book)
    assert "\n".join(caught.value.lines) + "\n" == (BAD / f"{name}.txt").read_text()


def test_every_file_is_reported(tmp_path: Path) -> None:
    paths = [tmp_path / "a.toml", tmp_path / "b.toml", tmp_path / "c.toml"]
    paths[0].write_text("[[rules]]\n")
    paths[1].write_text("rules = 1\n")
    with pytest.raises(ConfigError) as caught:
        load_rules(paths)
    named = {line.partition(":")[0] for line in caught.value.lines}
    assert named == {str(path) for path in paths}


def test_own_rules_come_first_in_order(tmp_path: Path) -> None:
    for name, action in (("a", "fail"), ("b", "suppress")):
        (tmp_path / f"{name}.toml").write_text(
            f'[[rules]]\nid = "own-{name}"\ncategory = "bad_mailbox"\naction = "{action}"\n'
            'patterns = ["user unknown"]\nsamples = ["550 user unknown"]\n'
        )
    book = load_rules([tmp_path / "a.toml", tmp_path / "b.toml"])
    classifier, reply = Classifier(book), Reply.parse(550, "5.1.1 User unknown")
    assert [meaning.rule for meaning in classifier.explain(reply)[:3]] == ["own-a", "own-b", "user-unknown"]
    assert classifier.classify(reply).action is Action.FAIL
    assert classifier.sample_errors()[0].startswith(
        "bounce rule own-b: its sample '550 5.0.0 user unknown' leads to rule own-a"
    )


def test_shipped_samples_are_refusals(book: RuleBook) -> None:
    assert all(reply.kind is not ReplyKind.POSITIVE for rule in book.rules for reply in rule.samples)

"""What no rule can change, and that no reply can break the classifier."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bounce.classify import Classifier
from bounce.rules import RuleBook, load_rules, read_rules
from mta.mail.delivery import Action, Fault, Stage
from mta.mail.reply import Reply, ReplyKind

CLASSIFIER = Classifier(load_rules())
CONNECTION = (Stage.CONNECT, Stage.TLS, Stage.HELLO)
USER_UNKNOWN = Reply.read("550 5.1.1 <ann@example.com>: Recipient address rejected: User unknown")


def classify(text: str, stage: Stage = Stage.RECIPIENT, host: str | None = None) -> tuple[str, Action]:
    meaning = CLASSIFIER.classify(Reply.read(text), stage, host)
    return meaning.category, meaning.action


def test_a_4xx_is_always_tried_again() -> None:
    for rule in load_rules().rules:
        for sample in rule.samples:
            softer = Reply(450, "4" + sample.status[1:], sample.text)
            assert CLASSIFIER.classify(softer).action is Action.RETRY, softer


@pytest.mark.parametrize("stage", CONNECTION)
@pytest.mark.parametrize(
    "text",
    [
        "554 5.7.1 Service unavailable; Client host [192.0.2.1] blocked using zen.spamhaus.org",
        "554 go away",
        "550 5.1.1 User unknown",
        "521 no mail here",
    ],
)
def test_a_refused_connection_is_tried_again(text: str, stage: Stage) -> None:
    assert classify(text, stage)[1] is Action.RETRY


def test_no_route_is_final() -> None:
    assert classify("550 5.1.2 the domain does not exist", Stage.RESOLVE) == ("bad_domain", Action.FAIL)
    assert classify("556 5.1.10 the domain takes no mail", Stage.RESOLVE) == ("bad_domain", Action.FAIL)
    assert classify("451 4.4.3 no answer from the name servers", Stage.RESOLVE) == ("dns_failure", Action.RETRY)


@pytest.mark.parametrize("stage", [Stage.SENDER, Stage.DATA, Stage.FINAL_DOT])
def test_nobody_is_suppressed_before_being_named(stage: Stage) -> None:
    assert CLASSIFIER.classify(USER_UNKNOWN, stage).action is Action.FAIL
    assert CLASSIFIER.classify(USER_UNKNOWN, Stage.RECIPIENT).action is Action.SUPPRESS


@pytest.mark.parametrize("code", [-1, 0, 100, 199, 300, 354, 399, 600, 999])
def test_codes_that_smtp_does_not_know_are_tried_again(code: int) -> None:
    meaning = CLASSIFIER.classify(Reply(code, "4.0.0", "User unknown"))
    assert meaning.action is Action.RETRY


def test_success() -> None:
    meaning = CLASSIFIER.classify(Reply(250, "2.0.0", "user unknown"))
    assert meaning.action is Action.DELIVERED
    assert CLASSIFIER.explain(Reply(250, "2.0.0", "ok")) == ()


@pytest.mark.parametrize("detail", [*range(25, 41), 515, 501, 606, 708])
def test_refusals_of_the_sender_never_suppress(detail: int) -> None:
    """5.7.25 to 5.7.40, 5.7.5xx and the like are about us, whatever the words beside them."""
    for text in ("", "User blocked", "address rejected"):
        meaning = CLASSIFIER.classify(Reply(550, f"5.7.{detail}", text))
        assert meaning.action is Action.FAIL
        assert meaning.fault is not Fault.RECIPIENT or text == "User blocked"


@pytest.mark.parametrize(
    "text",
    [
        "550",
        "550 ",
        "554 Transaction failed",
        "550 5.7.1 spam",
        "552 5.2.2 Mailbox full",
        "550 5.2.1 The user you are trying to contact is receiving mail at a rate that prevents additional messages",
        "550 5.1.1 <ann@example.com>: Recipient address rejected: blocked using zen.spamhaus.org",
        "550 5.1.1 <ann@example.com>: Recipient address rejected: Sender address rejected: User unknown",
        "550 5.1.1 User unknown; message refused by DMARC policy",
        "550 5.1.1 too many unknown users, rate limited",
        "521 5.2.1 AOL will not accept delivery of this message.",
        "552 5.1.1 Boite du destinataire pleine. Recipient overquota. OFR_417",
        "550 Requested action not taken: mailbox unavailable",
        "550-Verification failed for <bounce@example.com>\n550-No Such User Here\n550 Sender verify failed",
    ],
)
def test_what_must_not_suppress(text: str) -> None:
    assert classify(text)[1] is not Action.SUPPRESS


def test_an_address_is_not_its_words() -> None:
    for local in ("spam", "dmarc", "policy", "quota", "rbl"):
        text = f"550 5.1.1 <{local}@example.com>: Recipient address rejected: User unknown"
        assert classify(text) == ("bad_mailbox", Action.SUPPRESS)


def test_rules_of_one_provider() -> None:
    text = "550 <ann@gmx.net>: Requested action not taken: mailbox unavailable"
    assert classify(text, host="mx00.gmx.net.") == ("bad_mailbox", Action.SUPPRESS)
    assert classify(text, host="MX00.GMX.NET") == ("bad_mailbox", Action.SUPPRESS)
    assert classify(text, host="mx.fakegmx.net") == ("bad_mailbox", Action.FAIL)
    assert classify(text) == ("bad_mailbox", Action.FAIL)  # others word any refusal so (RFC 5321 4.2.3)


def test_enhanced_code_in_the_text() -> None:
    assert classify("550 sorry (#5.1.1)") == ("bad_mailbox", Action.SUPPRESS)
    assert classify("550 sorry (#4.1.1)") == ("refused", Action.FAIL)
    assert classify("550 sorry #5.1.1.2") == ("refused", Action.FAIL)
    assert classify("550 5.7.1 sorry (#5.1.1)") == ("policy_refusal", Action.FAIL)


def test_explain_is_in_order_and_begins_with_the_decision() -> None:
    meanings = CLASSIFIER.explain(USER_UNKNOWN)
    assert [meaning.rule for meaning in meanings] == ["user-unknown", "code-1-1", "reply-5xx"]
    assert meanings[0] == CLASSIFIER.classify(USER_UNKNOWN)
    assert meanings[0].matched == "user unknown"


def test_a_rule_may_give_up_on_a_4xx() -> None:
    text = """
    [[rules]]
    id = "x"
    category = "blocklisted"
    on_4xx = "fail"
    patterns = ["blocked for good"]
    samples = ["450 blocked for good"]
    """
    own = read_rules(text, "x", load_rules())
    classifier = Classifier(RuleBook(own.rules + load_rules().rules, own.categories))
    assert classifier.classify(Reply(450, "4.7.1", "You are blocked for good")).action is Action.FAIL
    assert classifier.classify(Reply(450, "4.7.1", "You are blocked")).action is Action.RETRY


@pytest.mark.parametrize(
    ("text", "stage", "category", "fault"),
    [
        ("550 5.7.1 rejected for policy reasons", Stage.RECIPIENT, "policy_refusal", Fault.SENDER),
        ("550 5.7.1 rejected for policy reasons", Stage.FINAL_DOT, "spam_content", Fault.CONTENT),
        ("550 5.7.1 no", Stage.FINAL_DOT, "spam_content", Fault.CONTENT),
        ("550 5.7.1 your server is not welcome", Stage.FINAL_DOT, "policy_refusal", Fault.SENDER),
        ("550 5.7.26 no", Stage.FINAL_DOT, "auth_failure", Fault.SENDER),
        ("421 4.7.0 Too many SMTP sessions, try again", Stage.CONNECT, "rate_limited", Fault.SENDER),
        (
            "550 No such user. If you think this is wrong, look whether your IP is blacklisted",
            Stage.RECIPIENT,
            "bad_mailbox",
            Fault.RECIPIENT,
        ),
    ],
)
def test_the_stage_and_the_subject_decide(text: str, stage: Stage, category: str, fault: Fault) -> None:
    found = CLASSIFIER.classify(Reply.read(text), stage)
    assert (found.category, found.fault) == (category, fault)


def test_a_rule_of_the_operators_is_believed_whatever_the_words_say() -> None:
    text = '[[rules]]\nid = "mine"\ncategory = "refused"\npatterns = ["user unknown"]\nsamples = ["550 user unknown"]\n'
    shipped = load_rules()
    own = read_rules(text, "own.toml", shipped)
    found = Classifier(RuleBook(own.rules + shipped.rules, own.categories)).classify(Reply.read("550 user unknown"))
    assert (found.rule, found.action) == ("mine", Action.FAIL)


def test_without_any_rule_everything_is_tried_again() -> None:
    assert Classifier(RuleBook((), {})).classify(Reply(550, "5.1.1", "User unknown")).action is Action.RETRY


WORDS = sorted({word for rule in load_rules().rules for sample in rule.samples for word in sample.text.split()})
TEXTS = st.text(max_size=300) | st.lists(st.sampled_from(WORDS), max_size=40).map(" ".join)


@given(
    st.integers(-1, 999),
    st.sampled_from(["5.1.1", "4.2.2", "5.7.26", "5.0.0", "", "5", "9.9.9", "5.1.1.1"]),
    TEXTS,
    st.sampled_from(Stage),
    st.none() | st.text(max_size=20),
)
def test_any_reply(code: int, status: str, text: str, stage: Stage, host: str | None) -> None:
    reply = Reply(code, status, text)
    meaning = CLASSIFIER.classify(reply, stage, host)
    assert (meaning.action is Action.DELIVERED) == (reply.kind is ReplyKind.POSITIVE)
    assert reply.kind is not ReplyKind.TRANSIENT or meaning.action is Action.RETRY
    assert meaning.action is not Action.SUPPRESS or (meaning.fault is Fault.RECIPIENT and not stage.is_connection)


@pytest.mark.parametrize(
    "word", ["user ", "mailbox ", "a", " ", "@", "user unknown@", "(#5.1.", "<x@y> ", "no such user "]
)
def test_text_of_a_flooding_receiver(word: str) -> None:
    assert CLASSIFIER.classify(Reply(550, "5.0.0", word * 100_000)).action in (Action.FAIL, Action.SUPPRESS)


def test_only_the_beginning_counts() -> None:
    assert classify("550 " + "x " * 900 + "user unknown")[1] is Action.SUPPRESS
    assert CLASSIFIER.classify(Reply(550, "5.0.0", "x " * 2100 + "user unknown")).action is Action.FAIL

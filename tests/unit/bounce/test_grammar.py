"""Refusals in words that no rule knows, in each language; and whose fault they never are."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest

from bounce.classify import Classifier
from bounce.grammar import delay_in, failure_in, flattened, read_words
from bounce.languages import samples
from bounce.rules import load_rules
from mta.mail.delivery import Action, Fault, Stage
from mta.mail.reply import Reply

CLASSIFIER = Classifier(load_rules())
SAMPLES = [
    (language, kind, text) for language, kinds in samples().items() for kind, texts in kinds.items() for text in texts
]
OTHERS_FAULT = (
    "550 Mail from address 192.0.2.9 blocked",
    "550 5.7.1 Client host [192.0.2.9] has no reverse DNS; user unknown",
    "550 5.1.1 your server 192.0.2.9 is on our blacklist, mailbox unknown",
    "554 message looks like spam, recipient unknown",
    "550 too many connections per hour from you, user unknown",
    "550 5.7.1 relaying denied, no such user",
    "554 5.4.6 mail loop detected, unknown user",
    "550 invalid MX record of the sending domain, no such mailbox",
)


@pytest.mark.parametrize(("language", "meaning", "text"), SAMPLES)
def test_samples(language: str, meaning: str, text: str) -> None:
    found = read_words(flattened(text))
    assert found is not None
    assert found.rule == f"words-{meaning}"
    assert (found.action is Action.SUPPRESS) == (meaning in ("unknown", "gone", "closed"))


def test_each_language_has_samples() -> None:
    named = {(language, meaning) for language, meaning, _ in SAMPLES}
    for language in ("en", "nl", "de", "fr", "es", "it", "pt", "pl"):
        assert {(language, each) for each in ("unknown", "closed", "full", "temporarily")} <= named


def test_addresses_and_networks_are_not_their_words() -> None:
    assert flattened("User <spam@full.example>... NO_SUCH host 192.0.2.9") == "user <@ >... no such host ip-address"


def test_delay_and_failure() -> None:
    assert delay_in("delivery is delayed, we will keep trying") == "is delayed"
    assert delay_in("delivery failed") is None
    assert failure_in("nie udało się doręczyć") == "nie udało"
    assert failure_in("the programme for january") is None


@pytest.mark.parametrize("text", OTHERS_FAULT)
@pytest.mark.parametrize("stage", [each for each in Stage if each is not Stage.RESOLVE])  # that is our own finding
def test_another_ones_fault_never_blames_the_recipient(text: str, stage: Stage) -> None:
    found = CLASSIFIER.classify(Reply.read(text), stage)
    assert found.fault is not Fault.RECIPIENT
    assert found.action is not Action.SUPPRESS
    assert not found.hard


@pytest.mark.parametrize("stage", [each for each in Stage if each not in (Stage.RESOLVE, Stage.RECIPIENT)])
def test_no_rule_blames_a_recipient_whom_the_command_did_not_name(stage: Stage) -> None:
    for rule in load_rules().rules:
        host = f"mx{rule.mx[0]}" if rule.mx else None
        for sample, code in product(rule.samples, ("", "5.1.1", "5.2.1", "5.2.2", "5.7.1", "5.0.0")):
            found = CLASSIFIER.classify(replace(sample, status=code or sample.status), stage, host)
            assert found.action is not Action.SUPPRESS, (rule.id, sample)
            assert found.fault is not Fault.RECIPIENT, (rule.id, sample)
            assert not found.hard, (rule.id, sample)


@pytest.mark.parametrize("others", OTHERS_FAULT)
def test_words_about_another_outweigh_every_rule_about_a_mailbox(others: str) -> None:
    for rule in load_rules().rules:
        if rule.fault is Fault.RECIPIENT and not rule.mx and not rule.certain:
            for sample in rule.samples:
                found = CLASSIFIER.classify(Reply(550, "5.0.0", f"{others[4:]}; {sample.text}"))
                assert found.action is not Action.SUPPRESS, (rule.id, sample)
                assert not found.hard, (rule.id, sample)


@pytest.mark.parametrize(
    "milder", ["temporarily", "at the moment", "or mailbox full", "ou boite pleine", "oder postfach voll"]
)
def test_the_milder_reading_counts(milder: str) -> None:
    for text in ("user unknown", "mailbox does not exist", "account disabled", "no such recipient here"):
        for code, place in product(("5.1.1", "5.0.0", "5.2.1"), (f"{text} {milder}", f"{milder} {text}")):
            found = CLASSIFIER.classify(Reply(550, code, place))
            assert found.action is not Action.SUPPRESS, (code, place)
            assert not found.hard


@pytest.mark.parametrize(
    "text",
    [
        "550 envelope sender user unknown at shop.example",
        "550 the mailbox you claim to send from does not exist",
        "550 bad MAIL FROM: user not found",
        "554 5.3.0 internal error, user table not found",
        "550 the domain of the recipient does not exist",
        "550 Sender's mailbox is full, cannot return bounces",
        "550 Recipient either unknown or blocking you",
        "550 your user is not known to us, authenticate",
        "550 the IP address of the user is unknown",
        "550 the account you authenticate with does not exist",
        "550 the address you are sending from is unknown",
        "550 the user who sent this is unknown",
        "550 you are not a known user here",
        "550 unknown user, please log in first",
        "535 SASL user not found",
        "550 callback to <news@shop.example>: no such user",
        "550 account disabled for sending",
        "550 client user unknown",
        "550 uw account bestaat niet",
        "550 Return address does not exist",
        "550 user news not found at shop.example (sender verification)",
        "550 no such user at the domain in your From",
        "550 SRS: unknown user in forwarded sender",
        "550 unknown user for this IP",
        "550 the author's mailbox does not exist",
        "550 account not found for authentication",
        "550 unknown member: please subscribe before posting",
        "550 das Konto, mit dem Sie senden, existiert nicht",
        "550 le compte avec lequel vous envoyez n'existe pas",
        "550 postmaster@shop.example does not exist",
        "550 5.1.8 user unknown",
        "550 the reverse path names an unknown user",
        "550 your password has expired, account disabled",
        "550 invalid credentials: user unknown",
        "550 ungültige Zugangsdaten: Benutzer existiert nicht",
        "550 la dirección de retorno no existe",
        "550 konto, z którego wysyłasz, nie istnieje",
        "550 認証に失敗しました:ユーザーが存在しません",
        "550 the name ann is not unique. Several users were found",
    ],
)
def test_words_of_a_mailbox_that_are_not_about_the_recipient(text: str) -> None:
    assert CLASSIFIER.classify(Reply.read(text)).action is not Action.SUPPRESS


def test_denial_and_existence_near_each_other_say_unknown() -> None:
    for text in ("we have no record of this address", "das konto führen wir hier nicht", "esa cuenta nunca existió"):
        found = read_words(flattened(text))
        assert found is not None
        assert (found.rule, found.hard) == ("words-unknown", True)


def test_a_contact_or_whom_one_writes_to_is_not_the_sender() -> None:
    for text in (
        "550 user unknown, ask postmaster@b.example",
        "550 the person you wrote to is unknown",
        "550 die von Ihnen angegebene Adresse existiert nicht",
    ):
        assert CLASSIFIER.classify(Reply.read(text)).action is Action.SUPPRESS, text


def test_the_quota_of_the_sender_is_no_full_mailbox() -> None:
    assert CLASSIFIER.classify(Reply.read("550 sender over quota")).fault is Fault.SENDER


def test_words_in_one_and_names_in_brackets_are_read() -> None:
    assert flattened("DisabledUser <ann> user_unknown") == "disabled user @ user unknown"


@pytest.mark.parametrize(
    ("text", "category"),
    [
        ("450 4.2.1 ann@b.example: too many messages in a short time", "rate_limited"),
        ("450 4.2.1 our database is down", "system_failure"),
        ("451 from:domain must resolve", "bad_sender"),
        ("450 4.7.1 mailbox of ann@b.example unavailable", "policy_refusal"),  # too vague to blame the recipient
    ],
)
def test_a_4xx_of_which_only_the_code_is_known_is_read_by_its_words(text: str, category: str) -> None:
    found = CLASSIFIER.classify(Reply.read(text))
    assert (found.category, found.action, found.hard) == (category, Action.RETRY, False)


@pytest.mark.parametrize(
    ("text", "category"),
    [
        ("550 our host denies the sender", "bad_sender"),
        ("550 helo host error", "bad_host_name"),
        ("550 sending host is in a black list", "blocklisted"),
        ("554 headers are not rfc compliant", "bad_message"),
        ("554 rejecting password protected file", "banned_content"),
        ("552 5.2.3 mail policy violation", "policy_refusal"),
        ("553 your envelope sender has been denied", "bad_sender"),
        ("550 5.7.1 exceeded unknown recipient count limit", "bad_reputation"),
        ("553 no mail accepted from an open relay", "policy_refusal"),
    ],
)
def test_what_of_the_sender_or_the_message_is_refused(text: str, category: str) -> None:
    assert CLASSIFIER.classify(Reply.read(text)).category == category


def test_an_accented_letter_stands_for_no_other_plain_letter() -> None:
    assert read_words("could not decode the message") is None  # French "décédé" is no "decode"
    assert read_words("cet homme est dã©cã©dã©") is not None

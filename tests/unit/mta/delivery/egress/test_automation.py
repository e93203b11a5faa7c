"""Automation rules: every shipped one fits what its provider says, and what the rules ask for is counted right."""

from __future__ import annotations

from typing import Any

import pytest

from bounce.classify import Classifier
from bounce.rules import load_rules
from config.load import shipped_automation
from config.schema import AutomationRule
from mta.delivery.egress.automation import Automation, actions_of, faults, is_immediate, is_reached
from mta.mail.delivery import Stage
from mta.mail.message import Stream
from mta.mail.reply import Reply
from mta.mail.shaping_action import ActionScope, Effect, Place, WindowCount

SHIPPED = shipped_automation()
SCOPE = ActionScope(source="mta-1", site="gmail")


def place(site: str = "gmail") -> Place:
    return Place("default", site, "example.net", 7, Stream.MARKETING, "m-1", "mta-1")


def rule(**more: Any) -> AutomationRule:
    given = {"name": "r", "codes": ["421"], "samples": ["421 slow down"], "reason": "why"}
    return AutomationRule.model_validate(given | more)


def fitting(reply: str, site: str, rules: list[AutomationRule] = SHIPPED, stage: Stage = Stage.RECIPIENT) -> list[str]:
    read = Reply.read(reply)
    category = Classifier(load_rules()).classify(read, stage).category
    return [match.rule.name for match in Automation(rules).matches(read, stage, category, place(site))]


# What the providers say, as senders have published it; which rule it is for, and what that does.
REPLIES = [
    (
        "gmail",
        "421-4.7.28 Gmail has detected an unusual rate of unsolicited mail originating\n421-4.7.28 from your SPF "
        "domain [sender.example 15]. To protect our users from\n421 4.7.28 spam, mail sent from your domain has been "
        "temporarily rate limited. a1-20020 - gsmtp",
        "gmail-unusual-rate-domain",
        (Effect.PAUSE, Effect.ALERT),
    ),
    (
        "gmail",
        "421-4.7.28 Gmail has detected an unusual rate of unsolicited mail originating\n421-4.7.28 from your IP "
        "address [192.0.2.7 15]. To protect our users from\n421 4.7.28 spam, mail sent from your IP address has been "
        "temporarily rate limited. a1-20020 - gsmtp",
        "gmail-unusual-rate",
        (Effect.PAUSE, Effect.CLOSE),
    ),
    (
        "yahoo",
        "553 5.7.2 [TSS11] All messages from 192.0.2.7 will be permanently deferred; Retrying will NOT succeed. See "
        "https://postmaster.yahooinc.com/error-codes",
        "yahoo-blocked",
        (Effect.PAUSE, Effect.CLOSE, Effect.ALERT),
    ),
    ("gmail", "421 4.7.0 Try again later, closing connection. (EHLO) x9 - gsmtp", "gmail-try-again-later",
     (Effect.PAUSE, Effect.CLOSE)),
    (
        "yahoo",
        "421 4.7.0 [TSS04] Messages from 192.0.2.7 temporarily deferred due to unexpected volume or user complaints - "
        "4.16.55.1; see https://postmaster.verizonmedia.com/error-codes",
        "yahoo-tss04",
        (Effect.PAUSE, Effect.CLOSE),
    ),
    ("yahoo", "421 4.7.0 [TSS05] Messages from 192.0.2.7 temporarily deferred due to user complaints - 4.16.55.1",
     "yahoo-tss05", (Effect.PAUSE, Effect.CLOSE, Effect.ALERT)),
    (
        "outlook",
        "550 5.7.1 Unfortunately, messages from [192.0.2.7] weren't sent. Please contact your Internet service "
        "provider since part of their network is on our block list (S3150). You can also refer your provider to "
        "http://mail.live.com/mail/troubleshooting.aspx#errors. [AM5EUR02FT018.eop-EUR02.prod.protection.outlook.com]",
        "outlook-blocked",
        (Effect.PAUSE, Effect.CLOSE, Effect.ALERT),
    ),
    (
        "outlook",
        "421 4.7.650 The mail server [192.0.2.7] has been temporarily rate limited due to IP reputation. For e-mail "
        "delivery information, see https://postmaster.live.com (S775) [BN8NAM11FT012.eop-nam11.prod.outlook.com]",
        "outlook-rate-limited",
        (Effect.LIMIT,),
    ),
    ("microsoft365", "451 4.7.500 Server busy. Please try again later from [192.0.2.7]. (S77714) [DB5.outlook.com]",
     "microsoft365-busy", (Effect.LIMIT,)),
    (
        "t-online",
        "554 IP=192.0.2.7 - A problem occurred. (Ask your postmaster for help or to contact tosa@rx.t-online.de to "
        "clarify.) (BL)",
        "t-online-blocked",
        (Effect.PAUSE, Effect.CLOSE, Effect.ALERT),
    ),
    ("united-internet", "421-web.de (mxweb009) Nemesis ESMTP Service not available\n421-Service not available\n"
     "421 Too many connections", "united-internet-limited", (Effect.LIMIT,)),
    ("united-internet", "554-Transaction failed\n554-Reject due to policy restrictions.\n554 For explanation visit "
     "https://postmaster.web.de/de/case?c=r0103", "united-internet-policy", (Effect.PAUSE, Effect.CLOSE, Effect.ALERT)),
    ("orange", "421 mwinf5c35 ME Trop de connexions, veuillez verifier votre configuration. Too many connections, slow "
     "down. OFR005_104 [104]", "orange-connections", (Effect.LIMIT,)),
    ("orange", "421 4.2.0 Service refuse. Veuillez essayer plus tard. Service refused, please try later. OFR004_502 "
     "[502]", "orange-deferred", (Effect.PAUSE, Effect.CLOSE)),
    ("orange", "550 5.2.0 Adresse IP source bloquee pour incident de spam. Client host blocked for spamming issues. "
     "OFR006_102 Ref http://csi.cloudmark.com", "orange-blocked", (Effect.PAUSE, Effect.CLOSE, Effect.ALERT)),
    ("apple", "550 5.7.1 [CS01] Message rejected due to local policy. Please visit https://support.apple.com/en-us/"
     "HT204137", "apple-local-policy", (Effect.PAUSE, Effect.ALERT)),
    ("apple", "421 4.7.1 [HM08] Message rejected due to local policy.", "apple-deferred", (Effect.PAUSE, Effect.CLOSE)),
    ("mx.pphosted.example", "554 Blocked - see https://ipcheck.proofpoint.com/?ip=192.0.2.7", "proofpoint-blocked",
     (Effect.PAUSE, Effect.CLOSE, Effect.ALERT)),
    ("mx.iol.example", "550 smtp-16.iol.local IP blacklisted by CSI. For remediation please use http://csi.cloudmark.com"
     "/reset-request/?ip=192.0.2.7", "cloudmark-blocked", (Effect.PAUSE, Effect.CLOSE, Effect.ALERT)),
    ("mx.ess.example", "554 Service unavailable; Client host [192.0.2.7] blocked using Barracuda Reputation; "
     "http://www.barracudanetworks.com/reputation/?r=1&ip=192.0.2.7", "barracuda-blocked",
     (Effect.PAUSE, Effect.CLOSE, Effect.ALERT)),
]  # fmt: skip


@pytest.mark.parametrize(("site", "reply", "name", "effects"), REPLIES, ids=[each[2] for each in REPLIES])
def test_what_a_provider_says(site: str, reply: str, name: str, effects: tuple[Effect, ...]) -> None:
    assert name in fitting(reply, site)
    found = next(each for each in SHIPPED if each.name == name)
    assert tuple(new.effect for new in actions_of(found, SCOPE, reply)) == effects


def test_every_shipped_rule_has_a_reply_above() -> None:
    assert {each[2] for each in REPLIES} == {each.name for each in SHIPPED}


def test_shipped_rules_have_no_faults() -> None:
    assert list(faults(SHIPPED, load_rules().categories)) == []


@pytest.mark.parametrize(
    "reply",
    ["550 5.1.1 The email account that you tried to reach does not exist", "452 4.2.2 The mailbox is full",
     "421 4.4.2 Timeout waiting for data", "250 2.0.0 OK"],
)  # fmt: skip
@pytest.mark.parametrize("site", ["gmail", "yahoo", "outlook", "t-online", "orange", "apple", "mx.other.example"])
def test_what_says_nothing_about_the_sender_fits_no_rule(reply: str, site: str) -> None:
    assert fitting(reply, site) == []


def test_what_concerns_one_recipient_or_a_domain_of_ours_is_not_laid_on_the_address() -> None:
    busy = "421 4.7.1 Messages to eve@icloud.com deferred due to excessive volume. Try again later - "
    assert fitting(f"{busy}https://support.apple.com/en-us/HT204137", "apple") == []
    quick = "450-4.2.1 The user you are trying to contact is receiving email at a rate that\n450 4.2.1 prevents more"
    assert fitting(quick, "gmail") == []
    assert fitting(REPLIES[0][1], "gmail") == ["gmail-unusual-rate-domain"]


def test_a_provider_is_not_judged_by_the_words_of_another() -> None:
    assert fitting(REPLIES[0][1], "yahoo") == []


def test_categories_and_words_must_both_fit_and_all_rules_apply_in_order() -> None:
    rules = [
        rule(name="later", patterns=["slow down"], samples=["421 slow down"]),
        rule(name="spam", codes=[], samples=[], categories=["spam_content"]),
        rule(name="both", categories=["rate_limited"]),
        rule(name="off", enabled=False),
        rule(name="first"),
    ]
    reply = Reply.read("421 4.7.0 slow down")
    matches = Automation(rules).matches(reply, Stage.RECIPIENT, "rate_limited", place())
    assert [match.rule.name for match in matches] == ["later", "both", "first"]
    assert {match.scope for match in matches} == {SCOPE}
    (by_category,) = Automation(rules).matches(Reply.read("550 no"), Stage.DATA, "spam_content", place())
    assert by_category.rule.name == "spam"


def counted(replies: int, matched: int) -> WindowCount:
    return WindowCount("r", SCOPE, replies, matched, "421 slow down")


def test_a_window_needs_its_count_or_its_share_of_enough() -> None:
    three = rule(count=3)
    assert [is_reached(three, counted(0, n)) for n in (2, 3)] == [False, True]
    tenth = rule(share=0.1, volume=50)
    assert not is_reached(tenth, counted(49, 49))
    assert [is_reached(tenth, counted(50, n)) for n in (4, 5)] == [False, True]
    assert [is_immediate(each) for each in (rule(), three, tenth)] == [True, False, False]
    assert [match.rule for match in Automation([three, tenth.model_copy(update={"name": "s"})]).measured(place())] == [
        tenth.model_copy(update={"name": "s"})
    ]


def test_faults_name_the_rule_and_the_key() -> None:
    rules = [
        rule(patterns=["Slow"], codes=[]),
        rule(patterns=["too fast"]),
        rule(samples=["slow down"]),
        rule(categories=["nothing"]),
    ]
    found = [(n, key) for n, key, _ in faults(rules, ["rate_limited"])]
    assert found == [(0, ("patterns", 0)), (1, ("samples", 0)), (2, ("samples", 0)), (3, ("categories", 0))]

"""Profiles: what they inherit, what they build, and how each mistake is told."""

from __future__ import annotations

from dataclasses import fields
from datetime import datetime
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
from pydantic import Field

from config.toml import ConfigError
from config.types import Duration, Section, default
from mta.mail.message import Message
from policy import plugins
from policy.accounts.account import Stream
from policy.base import Facts, Pass, Verdict
from policy.chain import Failing
from policy.permission.tokens import SampleTokens
from policy.plugins import Installed, installed
from policy.profile import Handling, Profiles, UnknownProfile, _Builder, load_handling, load_profiles
from policy.rule_context import RuleContext

CONTEXT = RuleContext("mx.example", SampleTokens())


class Plain:
    """A rule with settings of every kind; it lets everything pass."""

    name = "plain"

    class Settings(Section):
        words: list[str] = Field(default_factory=list)
        wait: Duration = default("1h")
        most: int = Field(5, ge=1)

    def __init__(self, settings: Settings, context: RuleContext) -> None:
        self.settings = settings
        if "forbidden" in settings.words:
            raise ValueError('"forbidden" cannot be one of the words; leave it out')

    def on_content(self, message: Message, facts: Facts, now: datetime) -> tuple[Verdict, str]:
        return Pass(), ""


class Other(Plain):
    name = "other"


class Copy(Plain):
    """Its name is that of an attribute of every model."""

    name = "copy"


RULES = Installed({**installed().classes, "plain": Plain, "other": Other, "copy": Copy}, {"rotten": "rotten.py: it is"})


def load(tmp_path: Path, **texts: str) -> Profiles:
    """The shipped profiles and one for each text."""
    for name, text in texts.items():
        (tmp_path / f"{name}.toml").write_text(text)
    return load_profiles([tmp_path / f"{name}.toml" for name in texts], CONTEXT, RULES)


def names(profiles: Profiles, profile: str, stream: Stream = Stream.MARKETING) -> list[str]:
    chain = profiles.chain(profile, stream)
    assert chain is not None
    return [rule.name for rule in chain.rules]


def mistakes(tmp_path: Path, **texts: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, **texts)
    return [line.replace(f"{tmp_path}/", "") for line in caught.value.lines]


def plain(profiles: Profiles, profile: str, stream: Stream = Stream.MARKETING) -> Plain.Settings:
    settings = profiles.get(profile).streams[stream].settings["plain"]
    assert isinstance(settings, Plain.Settings)
    return settings


def test_every_rule_of_the_service_is_used_by_a_shipped_profile() -> None:
    profiles = Profiles.shipped(CONTEXT)
    used = {
        name
        for profile in profiles.names
        for rules in profiles.get(profile).streams.values()
        for name in rules.settings
    }
    assert installed().broken == {}
    assert set(installed().classes) == used


def test_the_shipped_profiles() -> None:
    profiles = Profiles.shipped(CONTEXT)
    assert profiles.names == (
        "can_spam", "cleverreach", "csa", "custommail", "gmail_yahoo_2024", "marketing", "spotler", "transactional",
    )  # fmt: skip
    for name in profiles.names:
        assert profiles.get(name).about
        assert profiles.chain(name, Stream.TRANSACTIONAL) is not None
    assert profiles.chain("transactional", Stream.MARKETING) is None, "advertising needs a profile that allows it"
    digests = {profiles.digest(name) for name in profiles.names}
    assert len(digests) == len(profiles.names), "each profile differs from the others"


def shipped(profile: str, rule: str, stream: Stream = Stream.MARKETING) -> Any:
    """The settings of a rule in a shipped profile; None if it has no such rule."""
    return Profiles.shipped(CONTEXT).get(profile).streams[stream].settings.get(rule)


def test_customers_of_cleverreach_are_bound_by_the_csa() -> None:
    profiles = Profiles.shipped(CONTEXT)
    assert "csa" in profiles.get("cleverreach").line
    assert set(names(profiles, "csa")) < set(names(profiles, "cleverreach"))


def test_what_the_policies_contradict_one_another_in_is_a_setting() -> None:
    assert shipped("cleverreach", "opt_in").third_party == shipped("spotler", "opt_in").third_party == "deny"
    assert shipped("custommail", "opt_in").third_party == "allow_with_proof"
    assert shipped("can_spam", "opt_in") is None
    assert (shipped("cleverreach", "confirmation").unconfirmed, shipped("cleverreach", "confirmation").list_origin) == (
        "hold", "approved",
    )  # fmt: skip
    assert shipped("can_spam", "confirmation").list_origin == "any"
    assert shipped("custommail", "reply_address").no_reply == "refuse"
    assert shipped("spotler", "reply_address").no_reply == "allow"
    assert shipped("custommail", "list_unsubscribe").own == "replace"
    for rule in ("imprint", "unsubscribe"):
        assert (shipped("custommail", rule).footer, shipped("spotler", rule).footer) == ("append", "require")
    assert shipped("spotler", "list_unsubscribe").own == "keep"
    assert (shipped("custommail", "imprint").fields[0], shipped("custommail", "imprint").any_of) == ("logo", ["phone"])
    assert "logo" not in shipped("csa", "imprint").fields
    assert (shipped("csa", "imprint").po_box, shipped("can_spam", "imprint").po_box) == ("refuse", "accept")
    assert shipped("cleverreach", "role_address", Stream.TRANSACTIONAL) is not None
    assert shipped("spotler", "role_address") is None
    assert shipped("spotler", "opt_in").lapse_months == 18


def test_settings_are_inherited_key_by_key_and_the_stream_s_own_count_more(tmp_path: Path) -> None:
    profiles = load(
        tmp_path,
        low='[rules.plain]\nmost = 7\nwait = "2h"\n[marketing]\nchain = ["plain"]\n'
        '[transactional]\nchain = ["plain"]\n',
        high='extends = "low"\n[rules.plain]\nwait = "3h"\n[marketing.rules.plain]\nmost = 8\n',
    )
    assert (plain(profiles, "low").most, plain(profiles, "low").wait) == (7, 7200)
    assert (plain(profiles, "high").most, plain(profiles, "high").wait) == (8, 10800)
    assert plain(profiles, "high", Stream.TRANSACTIONAL).most == 7
    chain = profiles.chain("high", Stream.MARKETING)
    assert chain is not None
    assert isinstance(chain.rules[0], Plain)
    assert chain.rules[0].settings == plain(profiles, "high"), "the rule was built with them"


def test_rules_are_added_and_left_out(tmp_path: Path) -> None:
    profiles = load(
        tmp_path,
        low='[marketing]\nchain = ["size", "plain", "loops"]\nobserve = ["plain", "size"]\nfailing = "drop"\n',
        high='extends = "low"\n[marketing]\nalso = ["other"]\nwithout = ["plain"]\n',
        top='extends = "high"\n[marketing]\nchain = ["loops"]\nfailing = "refuse_all"\n',
    )
    assert names(profiles, "high") == ["size", "loops", "other"]
    high, top = profiles.chain("high", Stream.MARKETING), profiles.chain("top", Stream.MARKETING)
    assert high is not None
    assert top is not None
    assert (high.observed, high.failing) == (frozenset({"size"}), Failing.DROP)
    assert (names(profiles, "top"), top.observed, top.failing) == (["loops"], frozenset(), Failing.REFUSE_ALL)
    assert profiles.get("top").line == ("low", "high", "top")


def test_an_own_file_replaces_a_shipped_profile_and_may_stand_on_it(tmp_path: Path) -> None:
    profiles = load(tmp_path, csa='extends = "csa"\n[marketing]\nalso = ["plain"]\n')
    shipped = Profiles.shipped(CONTEXT)
    assert names(profiles, "csa") == [*names(shipped, "csa"), "plain"]
    assert "plain" in names(profiles, "cleverreach"), "what stands on it stands on the new one"
    alone = load(tmp_path, spotler='[marketing]\nchain = ["size"]')
    assert alone.chain("spotler", Stream.TRANSACTIONAL) is None


def test_a_digest_tells_profiles_apart(tmp_path: Path) -> None:
    text = '[marketing]\nchain = ["plain", "size"]\n'
    profiles = load(
        tmp_path, a=text, same=text, order='[marketing]\nchain = ["size", "plain"]\n',
        setting=text + "[rules.plain]\nmost = 6\n",
        watched='[marketing]\nchain = ["plain", "size"]\nobserve = ["plain"]\n',
        inherited='extends = "a"\n',
    )  # fmt: skip
    same = [name for name in profiles.names if profiles.digest(name) == profiles.digest("a")]
    assert same == ["a", "inherited", "same"]
    assert len(profiles.digest("a")) == 12


def test_a_profile_that_is_not_there() -> None:
    with pytest.raises(UnknownProfile, match=r'no profile "clever_reach"; did you mean "cleverreach"\?'):
        Profiles.shipped(CONTEXT).chain("clever_reach", Stream.MARKETING)


def test_a_rule_called_like_a_method_of_models(tmp_path: Path) -> None:
    profiles = load(tmp_path, own='[marketing]\nchain = ["copy"]\n[rules.copy]\nmost = 9\n')
    settings = profiles.get("own").streams[Stream.MARKETING].settings["copy"]
    assert isinstance(settings, Plain.Settings)
    assert settings.most == 9


BAD = {
    "unknown keys": (
        'extend = "csa"\n[marketing]\nrule = ["size"]\nchain = ["plain"]\n[rules.plain]\nmosst = 1\n[rules.plane]\n',
        [
            'own.toml:1: extend: unknown key; did you mean "extends"?',
            'own.toml:3: marketing.rule: unknown key; did you mean "rules"?',
            'own.toml:6: rules.plain.mosst: unknown key; did you mean "most"?',
            'own.toml:7: rules.plane: unknown key; did you mean "plain"?',
        ],
    ),
    "unknown rules": (
        '[marketing]\nchain = ["plain", "sise"]\nobserve = ["plian"]\nalso = ["rotten"]\n',
        [
            'own.toml:2: marketing.chain[1]: there is no rule "sise"; did you mean "size"?',
            'own.toml:3: marketing.observe[0]: there is no rule "plian"; did you mean "plain"?',
            'own.toml:4: marketing.also[0]: the rule "rotten" cannot be used: rotten.py: it is',
        ],
    ),
    "a rule that is broken": (
        '[marketing]\nchain = ["plain", "rotten"]\n[rules.rotten]\nmost = 3\n',
        ['own.toml:2: marketing.chain[1]: the rule "rotten" cannot be used: rotten.py: it is'],
    ),
    "wrong values": (
        '[marketing]\nchain = ["plain"]\nfailing = "some"\n[marketing.rules.plain]\nmost = 0\nwait = 5\n',
        [
            'own.toml:3: marketing.failing: "some" is not valid; expected "refuse_all" or "drop"',
            "own.toml:5: marketing.rules.plain.most: 0 is not valid; expected an integer ≥ 1",
            "own.toml:6: marketing.rules.plain.wait: 5 is not valid; "
            'expected a duration such as "500ms", "30s", "5m", "2h" or "5d"',
        ],
    ),
    "a value the rule refuses": (
        '[marketing]\nchain = ["plain"]\n[rules.plain]\nwords = ["forbidden"]\n',
        ['own.toml:3: rules.plain: "forbidden" cannot be one of the words; leave it out'],
    ),
    "no effect": (
        'extends = "gmail_yahoo_2024"\n[marketing]\nalso = ["size"]\nwithout = ["plain"]\n'
        'observe = ["other"]\n[rules.plain]\n',
        [
            'own.toml:3: marketing.also[0]: "size" is in the chain already',
            'own.toml:4: marketing.without[0]: "plain" is not in the chain',
            'own.toml:5: marketing.observe[0]: "other" is not in the chain; add it, or do not name it here',
            'own.toml:6: rules.plain: the rule "plain" is in no chain of this profile; add it to one',
        ],
    ),
    "settings for the other stream": (
        '[marketing]\nchain = ["plain"]\n[transactional]\nchain = ["size"]\n[transactional.rules.plain]\nmost = 3\n',
        ['own.toml:5: transactional.rules.plain: the rule "plain" is not in this chain; add it'],
    ),
    "twice": (
        '[marketing]\nchain = ["size", "size"]\n',
        ['own.toml:2: marketing.chain[1]: "size" stands there twice; name each rule once'],
    ),
    "no chain": (
        'extends = "transactional"\n[marketing]\nfailing = "drop"\n',
        ["own.toml:2: marketing.chain: is missing, and there is none to inherit"],
    ),
    "no stream": (
        'about = "nothing"\n',
        ["own.toml:1: extends: it allows no stream; give it [marketing] or [transactional] with a chain"],
    ),
    "extends nothing known": (
        'extends = "spoter"\n',
        ['own.toml:1: extends: there is no profile "spoter"; did you mean "spotler"?'],
    ),
    "extends itself": (
        '\nextends = "own"\n[marketing]\nchain = ["size"]\n',
        ['own.toml:2: extends: there is no profile "own"; there are can_spam, cleverreach, csa, custommail, '
         "gmail_yahoo_2024, marketing, spotler, transactional"],
    ),
    "invalid TOML": (
        "[marketing\n",
        ["own.toml:1: invalid TOML at column 11: expected ']' at the end of a table declaration; write [marketing]"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_mistakes_are_told_with_their_line(case: str, tmp_path: Path) -> None:
    text, lines = BAD[case]
    assert mistakes(tmp_path, own=text) == lines


def test_mistakes_of_all_files_come_at_once(tmp_path: Path) -> None:
    lines = mistakes(
        tmp_path,
        one='[marketing]\nchain = ["nothing_like_it"]\n',
        two='extends = "one"\nabuot = "x"\n',
        three='extends = "four"\n[marketing]\nchain = ["size"]\n',
        four='extends = "three"\n',
    )
    assert lines[0].startswith('one.toml:2: marketing.chain[0]: there is no rule "nothing_like_it"; there are ')
    assert lines[1:] == [
        'two.toml:2: abuot: unknown key; did you mean "about"?',
        "four.toml:1: extends: profiles stand on one another in a circle: three > four > three",
        "three.toml:1: extends: profiles stand on one another in a circle: four > three > four",
    ]


def test_names_of_files(tmp_path: Path) -> None:
    below = tmp_path / "below"
    below.mkdir()
    files = [tmp_path / "own.toml", below / "own.toml", tmp_path / "My Rules.toml"]
    for file in files:
        file.write_text('[marketing]\nchain = ["size"]\n')
    with pytest.raises(ConfigError) as caught:
        load_profiles(files, CONTEXT, RULES)
    assert caught.value.lines == [
        f"{files[1]}: {files[0]} is called own too; rename one of them",
        f"{files[2]}: a profile is called after its file: lower-case letters, digits, - and _; rename the file",
    ]


@pytest.mark.parametrize(
    ("name", "target", "why"),
    [
        ("gone", "policy.rules.gone:Gone", "cannot be loaded: ModuleNotFoundError"),
        ("tiny", "policy.rules.content.size:Size", 'its attribute "name" must be "tiny"'),
        ("half", "tests.unit.policy.test_profile:Half", "it needs a class Settings"),
        (
            "greedy",
            "tests.unit.policy.test_profile:Greedy",
            "every key of its Settings needs a default; without one: key",
        ),
        (
            "idle",
            "tests.unit.policy.test_profile:Idle",
            "it needs a method on_sender, on_recipient, on_content or",
        ),
    ],
)
def test_what_is_not_a_rule_does_not_hide_the_others(name: str, target: str, why: str) -> None:
    points = [
        EntryPoint(name, target, plugins.GROUP), EntryPoint("size", "policy.rules.content.size:Size", plugins.GROUP)
    ]  # fmt: skip
    found = plugins.find(points)
    assert list(found.classes) == ["size"]
    assert why in found.broken[name]


def test_what_no_profile_can_leave_out(tmp_path: Path) -> None:
    profiles = load(tmp_path, bare='[transactional]\nchain = ["plain"]\n')
    assert [name for name, _ in profiles.mandatory.at_sender] == ["account_state", "sender_identity"]
    assert [name for name, _ in profiles.mandatory.at_delivery] == ["suppressed"]
    chain = profiles.chain("bare", Stream.TRANSACTIONAL)
    assert chain is not None
    assert ([rule.name for rule in chain.rules], chain.at_sender) == (["plain"], profiles.mandatory.at_sender)
    assert profiles.enforced("bare", Stream.TRANSACTIONAL) is chain
    assert profiles.enforced("bare", Stream.MARKETING) is profiles.mandatory
    assert profiles.enforced("gone", Stream.TRANSACTIONAL) is profiles.mandatory


def test_two_packages_with_a_rule_of_the_same_name() -> None:
    points = [
        EntryPoint("plain", f"tests.unit.policy.test_profile:{name}", plugins.GROUP) for name in ("Plain", "Twin")
    ]
    found = plugins.find(points)
    assert found.classes == {}
    assert "two packages bring a rule of this name" in found.broken["plain"]


class Twin(Plain):
    name = "plain"


class Half:
    name = "half"


class Greedy(Plain):
    name = "greedy"

    class Settings(Section):
        key: str


class Idle:
    name = "idle"

    class Settings(Section):
        pass


def test_how_accounts_are_handled_is_read_without_building_a_rule(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = tmp_path / "own.toml"
    own.write_text('extends = "custommail"\n[complaints]\noverdue = "tell"\n[breakers]\nhard_bounces_stop = 0.09\n')
    loaded = load_profiles([own], CONTEXT).handling
    monkeypatch.setattr(_Builder, "__init__", lambda *_: pytest.fail("rules are built"))
    found = load_handling([own])
    assert found.keys() == loaded.keys()
    for name, profile in loaded.items():
        assert all(getattr(found[name], field.name) == getattr(profile, field.name) for field in fields(Handling))
    assert found["own"].complaints != found["custommail"].complaints


def test_mistakes_in_how_accounts_are_handled_are_told(tmp_path: Path) -> None:
    own = tmp_path / "own.toml"
    own.write_text('extends = "nobody"\n')
    with pytest.raises(ConfigError, match="nobody"):
        load_handling([own])

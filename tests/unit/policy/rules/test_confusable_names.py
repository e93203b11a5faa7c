"""No letters that look like others in what names the sender; other scripts are welcome."""

from __future__ import annotations

import pytest

from policy.rules.sender.confusable_names import ConfusableNames
from tests.unit.policy.make import CONTEXT, ask, message

RULE = ConfusableNames(ConfusableNames.Settings(), CONTEXT)


@pytest.mark.parametrize(
    "name",
    ["Ann", "Bücher Österreich", "Яндекс Почта", "Москва Shop", "Ελλάδα", "楽天 Rakuten ニュース", "ＡＮＡ", "삼성",
     "שלום", "فروشگاه", "Ann 🎄", "MTS", "МТС Bank", "5µm", "Σ Sigma"],
)  # fmt: skip
def test_names_as_people_write_them(name: str) -> None:
    assert ask(RULE, message(f"From: {name} <ann@shop.example>\r\n")) == "pass: 1 fields"


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("p\u0430ypal", 'mixes Cyrillic and Latin in "p\u0430ypal"'),
        ("Αpple Store", "mixes Greek and Latin"),
        ("Shop ехprеss", "mixes Cyrillic and Latin"),
        ("𝐏𝐚𝐲𝐏𝐚𝐥", "a letter for formulas"),
        ("Shop\u202e gro.lapyap", "an invisible character (RIGHT-TO-LEFT OVERRIDE)"),
        ("Pay\u200bPal", "an invisible character (ZERO WIDTH SPACE)"),
        ("=?utf-8?b?0YBheXBhbA==?=", "mixes Cyrillic and Latin"),
        ("=?utf-8?q?Pay=E2=80=8BPal?=", "an invisible character"),
    ],
)
@pytest.mark.parametrize("field", ["From", "Sender", "Reply-To"])
def test_names_that_deceive(field: str, name: str, why: str) -> None:
    answer = ask(RULE, message(f"{field}: {name} <ann@shop.example>\r\n"))
    assert answer.startswith(f"refuse: 550 5.7.1 confusable_names: the {field} field ")
    assert why in answer
    assert answer.endswith("; write the name in letters of one script")


@pytest.mark.parametrize(
    "domain",
    ["p\u0430ypal.com", "xn--pypal-4ve.com", "аррӏе.com", "shop.раураӏ.example",
     "shop\u200b.example"],
)  # fmt: skip
def test_domains_that_deceive(domain: str) -> None:
    assert ask(RULE, message(f"From: Ann <ann@{domain}>\r\n")).startswith("refuse: 550 5.7.1 confusable_names:")


@pytest.mark.parametrize("domain", ["bücher.example", "москва.com", "яндекс.рф", "ελλάδα.gr", "例え.jp", "оса.рф"])
def test_domains_in_other_scripts(domain: str) -> None:
    assert ask(RULE, message(f"From: Ann <ann@{domain}>\r\n")) == "pass: 1 fields"


def test_what_cannot_be_read_is_for_other_rules() -> None:
    assert ask(RULE, message("From: a@x.example, b@x.example\r\n")) == "pass: 1 fields"

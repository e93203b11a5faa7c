"""The shipped lists, and how names are compared with them."""

from __future__ import annotations

import pytest

from policy.wordlists import anywhere, bare, shipped, spellings


@pytest.mark.parametrize("name", ["role_addresses", "no_reply", "freemail"])
def test_each_list_is_there_without_doubles_in_a_group(name: str) -> None:
    for group, names in shipped(name).items():
        assert len(names) == len(set(names)), group
        assert all(each == each.strip() for each in names)


def test_a_list_that_is_not_there_is_an_error() -> None:
    with pytest.raises(Exception, match=r"no_such\.toml"):
        shipped("no_such")


@pytest.mark.parametrize(("text", "compared"), [("Büro", "buro"), ("CONTABILIDÁD", "contabilidad"), ("ﬁn", "fin")])
def test_without_case_and_accents(text: str, compared: str) -> None:
    assert bare(text) == compared


def test_a_blank_is_filled_in_four_ways() -> None:
    assert list(spellings(["Help Desk", "info"])) == ["helpdesk", "help-desk", "help_desk", "help.desk", "info"]
    assert "ateNcion-al-cliente".lower() in spellings(["atención al cliente"])


def test_names_anywhere_stand_between_signs() -> None:
    pattern = anywhere(["no reply", "bounce"])
    assert all(map(pattern.search, ["noreply", "shop-no.reply", "no_reply2+x", "a.bounce"]))
    assert not any(map(pattern.search, ["xnoreply", "noreplys", "bouncer", "no--reply"]))

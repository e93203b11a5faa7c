"""Sentences of pages and texts, and the one with the link."""

from __future__ import annotations

from policy.text.message_text import MessageText
from policy.text.sentences import Sentences, sentences_of


def read(body: str, kind: str = "html") -> Sentences:
    view = MessageText(f"Content-Type: text/{kind}; charset=utf-8\r\n\r\n{body}".encode()).views[0]
    return sentences_of(view, view.links[-1])


def said(body: str, kind: str = "html") -> list[str]:
    return [sentence.said for sentence in read(body, kind).all]


def test_blocks_and_full_stops_end_them() -> None:
    page = "<p>One. Two</p><table><tr><td>three<td>four<br>Five</table><a href=x>Six</a>"
    assert said(page) == ["one", "two", "three", "four", "five", "six"]


def test_elements_within_a_line_do_not() -> None:
    assert said("<p>You can <b>un</b>subscribe <a href=x>here</a>, at once</p>") == [
        "you can unsubscribe here, at once"
    ]


def test_a_question_goes_on_with_what_follows_and_a_wrapped_line_too() -> None:
    assert said("<p>No more mail?<br><a href=x>Tell us</a></p>") == ["no more mail? tell us"]
    assert said("Would you like to\nleave? Go to https://x.example/1 now", "plain") == [
        "would you like to leave? go to now"
    ]


def test_links_that_meet_and_signs_part_the_entries_of_a_list() -> None:
    page = "<p><a href=a>Home</a> <a href=b>Log in</a> | <a href=x>Unsubscribe</a></p>"
    assert [(each.said, each.is_listed) for each in read(page).all] == [
        ("home", False), ("log in", True), ("unsubscribe", True),
    ]  # fmt: skip


def test_the_sentence_of_the_link_is_told_and_the_other_links_in_each() -> None:
    found = read("<p>See <a href=a>our terms</a> first.</p><p>Go <a href=x>here</a></p>")
    assert (found.at, [each.links for each in found.all]) == (1, [("our terms",), ()])

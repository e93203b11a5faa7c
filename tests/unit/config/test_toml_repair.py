"""Lines that are no TOML: each is told with its line, how to write it, and does not hide what is behind it."""

from __future__ import annotations

from typing import Any

import pytest

from config.schema import Settings
from config.toml_repair import parse


def hints(text: str) -> tuple[list[tuple[int | None, str]], dict[str, Any] | None]:
    found = parse(text, Settings.model_json_schema)
    return [(each.line, each.text.partition("; ")[2]) for each in found.mistakes], found.data


@pytest.mark.parametrize(
    ("line", "hint", "value"),
    [
        ("k = mail.shop.example", 'put quotes around texts: k = "..."', "mail.shop.example"),
        ("k = 127.0.0.1", 'put quotes around texts: k = "..."', "127.0.0.1"),
        ("k = 30s", 'put quotes around texts: k = "..."', "30s"),
        ("k = 25MB # room", 'put quotes around texts: k = "..."', "25MB"),
        ("k = /var/lib/mta", 'put quotes around texts: k = "..."', "/var/lib/mta"),
        ("k = 192.0.2.0/24", 'put quotes around texts: k = "..."', "192.0.2.0/24"),
        ("k = True", "write true or false, in small letters and without quotes", True),
        ("k = no", "write true or false, in small letters and without quotes", False),
        ("k = 025", "a number has no zeros in front", 25),
        ("k = a, b", 'several values are a list: k = ["...", "..."]', ["a", "b"]),
        ('k = "a", "b"', 'several values are a list: k = ["...", "..."]', ["a", "b"]),
        ("k = [a, b]", 'put quotes around each text of the list: ["...", "..."]', ["a", "b"]),
        ("k = [192.0.2.1]", 'put quotes around each text of the list: ["...", "..."]', ["192.0.2.1"]),
        ('k = ["a" "b"]', "a comma is missing between two values of the list", []),
        ('k = ["a"', "a bracket ] is missing at the end of the list", ["a"]),
        ('k = "a', 'a quotation mark " is missing at the end of the text', "a"),
        ("k = 'a", "a quotation mark ' is missing at the end of the text", "a"),
        ('k = "a" b', "nothing but a comment (#) may follow the text", "a"),
        ("k = \u201ca\u201d", 'the quotation mark U+201C is typographic: write "', "a"),
        (r'k = "C:\mta"', r"write \\ for a backslash, or put the text between single quotes", r"C:\mta"),
    ],
)
def test_a_value(line: str, hint: str, value: object) -> None:
    told, data = hints(f"{line}\nlast = 1\n")
    assert (told, data) == ([(1, hint)], {"k": value, "last": 1})


@pytest.mark.parametrize(
    ("line", "hint"),
    [
        ("k =", "a value is missing: k = VALUE, or remove the key"),
        ("k: 1", "write k = VALUE, with an equals sign"),
        ("k 1", "write k = VALUE, with an equals sign"),
        ("web:", "a table begins with [web]"),
        ("// a comment", "a comment begins with #"),
        ("; a comment", "a comment begins with #"),
    ],
)
def test_a_line_that_holds_no_value(line: str, hint: str) -> None:
    told, data = hints(f"first = 1\n{line}\nlast = 1\n")
    assert (told, data) == ([(2, hint)], {"first": 1, "last": 1})


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[web\nport = 1\n", [(1, "write [web]")]),
        ("[[routes]\nhosts = []\n", [(1, "write [[routes]]")]),
        ("[web]\nport = 1\nport = 2\n", [(3, "port is in line 2 already: keep one of them")]),
        ("[web]\n[dns]\n[web]\nport = 2\n", [(3, "the first [web] is in line 1: put all its keys there")]),
        (
            "[submission.listeners]\nport = 1\n[submission.listeners]\nport = 2\n",
            [(3, "there can be several: write [[submission.listeners]], with two brackets, each time")],
        ),
    ],
)
def test_a_table(text: str, told: list[tuple[int, str]]) -> None:
    found, data = hints(text)
    assert found == told
    assert data is not None


def test_every_mistake_at_once_and_values_are_not_shown() -> None:
    text = "[database]\nurl = postgresql://u:topsecret@h/x\n[web\nport = 1\nport = 2\naddress = ::\n"
    found = parse(text, Settings.model_json_schema)
    assert [each.line for each in found.mistakes] == [2, 3, 5, 6]
    assert "topsecret" not in "".join(each.text for each in found.mistakes)
    assert found.data == {"database": {"url": "postgresql://u:topsecret@h/x"}, "web": {"port": 1, "address": "::"}}


def test_a_comma_that_is_missing_in_a_list_over_several_lines() -> None:
    told, data = hints('k = [\n"a"\n"b"\n]\nlast = 1\n')
    assert (told, data) == ([(3, "a comma is missing at the end of the line above")], {"k": ["a", "b"], "last": 1})


@pytest.mark.parametrize("text", ["a = [\n1,\n", 'a = """\nb', "a = {b = 1\nc = 2\n", "[a\n]\n", "=\n=\n"])
def test_what_cannot_be_repaired_is_told_once(text: str) -> None:
    found = parse(text, Settings.model_json_schema)
    assert (found.data, len(found.mistakes)) == (None, 1)

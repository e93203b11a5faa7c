"""``docs/policies.md`` tells the truth: every row of its table is kept by what it names, its examples work."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import FunctionType
from typing import Any

import pytest

from mta.mail.message import Stream
from policy.plugins import Installed, installed
from policy.profile import Profiles, load_profiles
from policy.reputation.complaint import Clocks
from tests.unit.policy.make import CONTEXT, HEAD, ask, message

ROOT = Path(__file__).parents[3]
DOCUMENT = (ROOT / "docs/policies.md").read_text()


@dataclass(frozen=True, slots=True)
class Row:
    number: int
    demand: str
    kept_by: str
    proof: str


def rows() -> Iterator[Row]:
    table = DOCUMENT[DOCUMENT.index("## The rows") :]
    for line in re.findall(r"^\| \d+ \|.*$", table, re.MULTILINE):
        number, demand, kept_by, proof = (cell.strip() for cell in line.strip("|").split("|"))
        yield Row(int(number), demand, kept_by, proof)


@lru_cache
def functions_in(path: Path) -> dict[str, ast.FunctionDef | ast.AsyncFunctionDef]:
    tree = ast.parse(path.read_text())
    return {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


def test_all_sixty_rows_are_there_once() -> None:
    assert [row.number for row in rows()] == list(range(1, 61))


@pytest.mark.parametrize("row", list(rows()), ids=lambda row: str(row.number))
def test_row(row: Row) -> None:
    """It points to tests that exist and run, and what keeps it is there."""
    assert row.demand
    for proof in row.proof.split(", "):
        path, _, name = proof.partition("::")
        assert (ROOT / "tests" / path).is_file(), f"row {row.number}: there is no {path}"
        assert name.startswith("test_")
        found = functions_in(ROOT / "tests" / path)
        assert name in found, f"row {row.number}: {path} has no {name}"
        marks = [ast.unparse(decorator) for decorator in found[name].decorator_list]
        assert not [mark for mark in marks if "skip" in mark or "xfail" in mark], f"row {row.number}: {name} is not run"
        assert any(isinstance(node, ast.Assert | ast.With | ast.AsyncWith) for node in ast.walk(found[name]))
    for rule, other in re.findall(r"\brules? `(\w+)`(?: and `(\w+)`)?", row.kept_by):
        assert {rule, other or rule} <= set(installed().classes), (
            f"row {row.number}: there is no rule {rule} or {other}"
        )


def test_settings_that_the_rows_name_exist() -> None:
    """``rule `confirmation`, `list_origin``` names a setting of that rule, a basis, or a piece of evidence."""
    words = {
        "list_origin",
        "unconfirmed",
        "third_party",
        "own_site",
        "lapse_months",
        "renewed_by",
        "obstacles",
        "no_reply",
    }
    keys = {key for rule in installed().classes.values() for key in rule.Settings.model_fields}
    assert words <= keys
    assert {key for table, key in re.findall(r"`(\w+)\.(\w+)`", DOCUMENT) if table == "complaints"} <= set(
        Clocks.model_fields
    )
    for rule, key in re.findall(r"`(\w+)\.(\w+)`", DOCUMENT):
        if rule in installed().classes:
            assert key in installed().classes[rule].Settings.model_fields, f"{rule}.{key}"


def test_the_profiles_that_it_lists() -> None:
    profiles = Profiles.shipped(CONTEXT)
    listed = dict(re.findall(r"^\| `(\w+)` \| (`\w+`)? ?\|", DOCUMENT, re.MULTILINE))
    assert {name: parent.strip("`") for name, parent in listed.items()} == {
        name: (profiles.get(name).line[-2:-1] or ("",))[0] for name in profiles.names
    }


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", DOCUMENT, re.MULTILINE | re.DOTALL)


def test_its_profile_can_be_loaded(tmp_path: Path) -> None:
    (tmp_path / "bavaria.toml").write_text(blocks("toml")[0])
    chain = load_profiles([tmp_path / "bavaria.toml"], CONTEXT).chain("bavaria", Stream.MARKETING)
    assert chain is not None
    assert chain.observed == {"role_address"}


def test_its_rule_works(tmp_path: Path) -> None:
    (code,) = blocks("python")
    names: dict[str, Any] = {"__name__": "my_rules"}
    exec(compile(code, "<docs/policies.md>", "exec", dont_inherit=True), names)  # a name that no source is looked up by
    shouting = names["Shouting"]
    assert isinstance(shouting.on_content, FunctionType)
    announced = tomllib.loads(blocks("toml")[1])["project"]["entry-points"]["imprimatur.rules"]
    assert announced == {shouting.name: "my_rules:Shouting"}
    (tmp_path / "loud.toml").write_text('[marketing]\nchain = ["shouting"]\n[rules.shouting]\nmost = 5\n')
    profiles = load_profiles(
        [tmp_path / "loud.toml"], CONTEXT, Installed({**installed().classes, "shouting": shouting}, {})
    )
    chain = profiles.chain("loud", Stream.MARKETING)
    assert chain is not None
    (rule,) = chain.rules
    assert ask(rule, message(HEAD)) == "pass: 0 capitals"
    loud = ask(rule, message(HEAD.replace(b"Subject: s", b"Subject: BUYNOW")))
    assert loud == "refuse: 550 5.7.1 shouting: the subject is all capitals; write it in small letters"

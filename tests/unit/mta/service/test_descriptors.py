"""How the limit of open files is shared out."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from typing import Any

import pytest

from config.schema import Settings
from mta.service.descriptors import LEAST, MOST, hard_limit, open_descriptors, raise_limit, share_out


def settings(**sections: Any) -> Settings:
    return Settings.model_validate(sections)


def test_enough_for_everything() -> None:
    shared = share_out(settings(), 65_536)
    assert (shared.submission, shared.reports, shared.outbound) == (2000, 0, 10_000)
    assert shared.is_enough
    assert shared.is_usable


def test_neither_side_uses_up_what_the_other_needs() -> None:
    shared = share_out(settings(), 1024)
    assert not shared.is_enough
    assert shared.is_usable
    assert abs(shared.submission - shared.outbound) <= 1
    assert shared.submission + shared.outbound < 1024 - 300


def test_what_one_side_does_not_need_the_other_gets() -> None:
    few = {"limits": {"connections": 100}}
    shared = share_out(settings(submission=few), 2048)
    assert shared.submission == 100
    assert shared.outbound > 1500


def test_reports_have_their_part() -> None:
    shared = share_out(settings(reports={"listeners": [{"port": 25}]}), 1024)
    assert 0 < shared.reports < shared.submission


@pytest.mark.parametrize("limit", [0, 64, 256, 400])
def test_too_few_for_any_service(limit: int) -> None:
    shared = share_out(settings(), limit)
    assert not shared.is_usable
    assert min(shared.submission, shared.outbound) < LEAST


def test_what_is_needed_is_enough() -> None:
    needed = share_out(settings(), 1024).needed
    assert share_out(settings(), needed).is_enough
    assert not share_out(settings(), needed - 1).is_enough


def test_the_text_says_how_to_raise_it() -> None:
    text = share_out(settings(), 1024).shown()
    assert "1024" in text
    assert "LimitNOFILE=16384" in text
    assert "ulimit -Hn 16384" in text


def test_the_soft_limit_is_raised_to_the_hard_one() -> None:
    code = (
        "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (200, 900));"
        "from mta.service.descriptors import raise_limit; print(raise_limit())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "900"


@pytest.mark.parametrize(
    ("limits", "raised"),
    [((1024, 524_288), 524_288), ((1024, 2**30), MOST), ((1024, -1), MOST), ((-1, -1), MOST), ((4096, 4096), 4096)],
)
def test_however_high_the_hard_limit_is(limits: tuple[int, int], raised: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def set_limit(_: int, wanted: tuple[int, int]) -> None:
        nonlocal limits
        limits = wanted

    monkeypatch.setattr(resource, "getrlimit", lambda _: limits)
    monkeypatch.setattr(resource, "setrlimit", set_limit)
    assert raise_limit() == raised
    assert hard_limit() == raised


def test_where_it_may_not_be_raised_it_is_what_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(resource, "getrlimit", lambda _: (1024, 4096))
    monkeypatch.setattr(resource, "setrlimit", forbidden)
    assert raise_limit() == 1024


def test_open_descriptors_are_counted() -> None:
    before = open_descriptors()
    ends = os.pipe()
    try:
        assert open_descriptors() == before + 2
    finally:
        for end in ends:
            os.close(end)

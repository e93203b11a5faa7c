"""What sketches and counts say of lists, and which addresses are traps."""

from __future__ import annotations

import hashlib
import random

import pytest

from config.toml import ConfigError
from mta.mail.address import Address
from policy.permission.address_list import (
    MOST,
    SKETCH,
    ListCounts,
    ListSign,
    ListThresholds,
    Sketch,
    judge_counts,
    judge_overlap,
)
from policy.permission.traps import TrapAddresses

LIMITS = ListThresholds()


def hashes(n: int, seed: int) -> list[int]:
    chance = random.Random(seed)
    return [chance.randrange(MOST) for _ in range(n)]


def test_a_sketch_is_the_same_in_whatever_pieces_a_list_comes() -> None:
    whole = hashes(20_000, 1)
    pieces = Sketch()
    for at in range(0, len(whole), 3_000):
        pieces = Sketch(bytes(pieces.extended(whole[at : at + 3_000])))
    assert bytes(pieces.extended(whole[:50])) == bytes(Sketch().extended(reversed(whole)))
    assert len(bytes(pieces)) == 8 * SKETCH
    assert pieces.addresses == pytest.approx(20_000, rel=0.05)
    assert Sketch().extended(whole[:100]).addresses == 100


@pytest.mark.parametrize(("size", "common"), [(9_000, 4_500), (50_000, 50_000), (50_000, 20_000), (2_000, 0)])
def test_the_share_of_the_shorter_list(size: int, common: int) -> None:
    shorter, rest = hashes(size, 1), hashes(200_000, 2)
    other = Sketch().extended([*rest, *shorter[:common]])
    assert Sketch().extended(shorter).share(other) == pytest.approx(common / size, abs=0.12)


def test_an_overlap_is_judged_from_a_floor_on() -> None:
    many, few = hashes(2_000, 1), hashes(200, 3)
    found = judge_overlap(Sketch().extended(many), Sketch().extended([*many, *few]), LIMITS)
    assert found
    assert (found.sign, found.hold) == (ListSign.OVERLAP, True)
    assert found.text == "about 100% of 2000 addresses are in a list of another account, too"
    assert judge_overlap(Sketch().extended(few), Sketch().extended([*many, *few]), LIMITS) is None
    assert judge_overlap(Sketch(), Sketch(), LIMITS) is None


@pytest.mark.parametrize(
    ("counts", "found"),
    [
        (ListCounts(10_000, 50, 0), []),
        (ListCounts(10_000, 250, 0), [(ListSign.ROLES, False)]),
        (ListCounts(10_000, 1_500, 1), [(ListSign.ROLES, True), (ListSign.TRAPS, False)]),
        (ListCounts(10, 9, 0), []),
        (ListCounts(100, 100, 2), [(ListSign.ROLES, True), (ListSign.TRAPS, True)]),
    ],
)
def test_counts_are_judged_from_a_floor_on(counts: ListCounts, found: list[tuple[ListSign, bool]]) -> None:
    assert [(each.sign, each.hold) for each in judge_counts(counts, LIMITS)] == found


def test_traps_are_known_in_any_spelling_and_by_their_hash() -> None:
    digest = hashlib.sha256(b"ben@trap.example").hexdigest()
    traps = TrapAddresses(f"# our own\nAnn@Trap.example  # old\n\n{digest}\n")
    assert len(traps) == 2
    for address, is_trap in (("ANN@trap.example", True), ("Ben@trap.example", True), ("carl@trap.example", False)):
        assert (Address.parse(address) in traps) is is_trap


def test_every_wrong_line_is_told() -> None:
    with pytest.raises(ValueError, match=r"line 1: 'nobody' .*\nline 3: 'abc123' "):
        TrapAddresses("nobody\nann@trap.example\nabc123\n")


def test_a_file_that_cannot_be_read_is_a_mistake(tmp_path: pytest.TempPathFactory) -> None:
    with pytest.raises(ConfigError):
        TrapAddresses.load(tmp_path / "none")  # type: ignore[operator]

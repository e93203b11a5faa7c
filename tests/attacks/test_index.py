"""The table of attacks names tests that exist; and the dependencies are none with known holes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.conformance.document import all_checks

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
ROWS = re.findall(r"(?m)^\| S(\d+) \| [^|]+ \| ([^|]+) \|$", (HERE / "README.md").read_text())
OWN = "".join(path.read_text() for path in HERE.glob("test_*.py"))
CLEAN_FROM = {
    "aiosmtpd": (1, 4, 6),  # CVE-2024-27305, CVE-2024-34083
    "aiosmtplib": (5, 1, 3),  # replies and parameters that were injected
    "dnspython": (2, 6, 1),  # CVE-2023-29483
    "cryptography": (42, 0, 4),
    "aiohttp": (3, 12, 14),  # CVE-2025-53643
    "idna": (3, 7),  # CVE-2024-3651
}


def test_the_table_is_complete() -> None:
    assert [int(number) for number, _ in ROWS] == list(range(1, 52))


@pytest.mark.parametrize(("number", "tests"), ROWS, ids=[f"S{number}" for number, _ in ROWS])
def test_the_tests_that_it_names_exist(number: str, tests: str) -> None:
    if tests.startswith("here"):
        assert re.search(rf"def test_(?:s\d\d_)*s{int(number):02}_", OWN)
    clauses = {check.id for check in all_checks()}
    for name in re.findall(r"`([^`]+)`", tests):
        path, _, function = name.partition("::")
        if function:
            assert re.search(rf"def {function}\(", (ROOT / path).read_text()), name
        else:
            assert name in clauses, name


@pytest.mark.parametrize("lock", ["requirements.lock", "requirements-dev.lock"])
def test_s41_s43_no_dependency_has_a_known_hole(lock: str) -> None:
    pinned = dict(re.findall(r"(?m)^([a-z0-9-]+)==([0-9.]+)", (ROOT / lock).read_text()))
    for name, least in CLEAN_FROM.items():
        assert tuple(map(int, pinned[name].split("."))) >= least, f"{name} {pinned[name]}"

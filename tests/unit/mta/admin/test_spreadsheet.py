"""What a spreadsheet would calculate stays a text."""

from __future__ import annotations

import pytest

from mta.admin.spreadsheet import no_formula


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1"])
def test_a_formula_is_quoted(text: str) -> None:
    assert no_formula(text) == f"'{text}"


@pytest.mark.parametrize("text", ["", "ann@example.net", "a=b", "C-17"])
def test_other_text_is_left(text: str) -> None:
    assert no_formula(text) == text

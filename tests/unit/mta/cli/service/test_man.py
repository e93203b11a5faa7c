"""The manual page: current, complete, and taken by troff without a complaint."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from mta.cli.main import COMMANDS
from mta.cli.service.man import manual

PAGE = Path(__file__).parents[5] / "docs/mta.1"


def test_the_page_is_current() -> None:
    assert PAGE.read_text(encoding="utf-8") == manual(), "run: make docs"


def test_every_command_has_its_section() -> None:
    page = manual().replace("\\-", "-")
    assert [name for name in COMMANDS if f".SS mta {name}" not in page] == []
    assert ".SS mta account credential rotate [OPTION]... USERNAME\n" in page
    assert ".B --older-than DURATION\n" in page


@pytest.mark.skipif(not shutil.which("groff"), reason="groff is not installed")
def test_troff_has_no_complaint() -> None:
    done = subprocess.run(
        ["groff", "-man", "-Tutf8", "-ww", "-rLL=72n"], input=manual(), capture_output=True, text=True, check=True
    )
    assert done.stderr == ""
    assert "GNU troff" not in done.stdout
    assert "mta queue bounce" in re.sub(".\b", "", done.stdout)  # bold is overstruck

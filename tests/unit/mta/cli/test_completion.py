"""Completion, as each shell asks for it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

MAIN = "import sys; sys.argv = ['mta']; from mta.cli.main import main; main()"


def complete(shell: str, text: str) -> str:
    words = (
        {"COMP_WORDS": text, "COMP_CWORD": str(text.count(" "))} if shell == "bash" else {"_TYPER_COMPLETE_ARGS": text}
    )
    asked = {"_MTA_COMPLETE": f"complete_{shell}", "_TYPER_COMPLETE_FISH_ACTION": "get-args"}
    done = subprocess.run([sys.executable, "-c", MAIN], capture_output=True, text=True, env=os.environ | asked | words)
    return done.stdout


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_each_shell_is_answered(shell: str) -> None:
    assert "suppression" in complete(shell, "mta sup")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("mta sup", "suppression"),
        ("mta queue rel", "release"),
        ("mta account credential ro", "rotate"),
        ("mta queue list --older", "--older-than"),
        ("mta queue list --state he", "held"),
    ],
)
def test_commands_options_and_choices(text: str, found: str) -> None:
    assert found in complete("bash", text)


@pytest.mark.skipif(not shutil.which("bash"), reason="bash is not installed")
def test_bash_completes_with_the_script_that_is_shown(tmp_path: Path) -> None:
    (tmp_path / "mta").write_text(f"#!{sys.executable}\n{MAIN}\n")
    (tmp_path / "mta").chmod(0o755)
    script = (
        'script=$(_MTA_COMPLETE=source_bash mta); eval "$script"\n'
        'COMP_WORDS=(mta dki) COMP_CWORD=1; _mta_completion mta; echo "${COMPREPLY[@]}"'
    )
    path = f"{tmp_path}:{os.environ['PATH']}"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, env=os.environ | {"PATH": path})
    assert done.stdout.split() == ["dkim"]

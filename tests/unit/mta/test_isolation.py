"""The path of a process of ours: nothing of the current directory, nothing of the user's own packages."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from mta import isolation

ROOT = str(Path(isolation.__file__).parents[1])
LIBRARY = os.path.dirname(os.__file__)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory to stand in, with its own path and environment."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [])
    monkeypatch.setattr(sys, "argv", ["/opt/mta/bin/mta"])
    for name in ("PYTHONPATH", "PATH", "PYTHONSAFEPATH", "PYTHONNOUSERSITE"):
        monkeypatch.setenv(name, "")
    return tmp_path


def test_the_current_directory_in_every_spelling_goes(here: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    link = tmp_path_factory.mktemp("other") / "link"
    link.symlink_to(here)
    sys.path[:] = ["", ".", "plugins", str(here), f"{here}/", str(link), "/opt/mta/bin", LIBRARY, ROOT, "/opt/rules"]
    isolation.isolate()
    assert sys.path == [LIBRARY, ROOT, "/opt/rules"]


def test_the_user_own_packages_go(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import site

    monkeypatch.setattr(site, "USER_SITE", "/home/ann/.local/lib/python3.11/site-packages")
    sys.path[:] = [LIBRARY, "/home/ann/.local/lib/python3.11/site-packages"]
    isolation.isolate()
    assert sys.path == [LIBRARY]
    assert os.environ["PYTHONNOUSERSITE"] == os.environ["PYTHONSAFEPATH"] == "1"


def test_the_library_stays_even_for_one_who_stands_in_it(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(LIBRARY)
    sys.path[:] = ["", LIBRARY]
    isolation.isolate()
    assert sys.path == [LIBRARY]


def test_so_does_a_checkout_that_one_stands_in(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    sys.path[:] = [ROOT]
    isolation.isolate()
    assert sys.path == [ROOT]


def test_children_inherit_neither(here: Path) -> None:
    os.environ |= {"PYTHONPATH": f":.:/opt/rules:{here}:plugins", "PATH": "/usr/bin::.:bin:/bin"}
    isolation.isolate()
    assert (os.environ["PYTHONPATH"], os.environ["PATH"]) == ("/opt/rules", "/usr/bin:/bin")


def test_a_directory_that_was_removed_is_no_obstacle(here: Path) -> None:
    here.rmdir()
    sys.path[:] = ["", LIBRARY]
    isolation.isolate()
    assert sys.path == [LIBRARY]


def test_a_new_interpreter_gets_the_path_of_this_one(here: Path) -> None:
    sys.path[:] = ["", "plugins", "/opt/rules", LIBRARY]
    command = isolation.python_command("some.module", "7")
    assert command[1:4] == ["-P", "-s", "-c"]
    assert command[5:] == [f"/opt/rules:{LIBRARY}", "some.module", "7"]

"""The Dockerfile: what it copies is in the context, what it asks is readiness, and (nightly) it builds and starts."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from config.load import load_file
from tests.container.dockerfile import command, is_in_context, pairs, stages

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text()


def test_it_is_read() -> None:
    build, image = stages(DOCKERFILE)
    assert build.name == "build"
    assert build.base == image.base
    assert "debian" not in build.base
    last = {each.word: each.text for each in image.instructions}
    assert command(last["ENTRYPOINT"]) + command(last["CMD"]) == ["mta", "serve"]
    assert pairs(last["ENV"])["MTA_CONFIG"] == "/etc/imprimatur/mta.toml"
    assert "/readyz" in last["HEALTHCHECK"]
    assert last["USER"] != "0"


def test_what_is_copied_exists_and_is_in_the_context() -> None:
    for stage in stages(DOCKERFILE):
        for each in stage.instructions:
            if each.word == "COPY" and "--from=" not in each.text:
                for name in each.text.split()[:-1]:
                    assert (ROOT / name).exists(), name
                    assert is_in_context(name, ROOT / ".dockerignore"), name


@pytest.mark.parametrize("text", ["ADD x y\n", "RUN true\nFROM a\n"])
def test_what_is_not_understood_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match="Dockerfile:1"):
        stages(text)


def test_the_composed_service_has_a_good_configuration(tmp_path: Path) -> None:
    """Its ports are those that the composition publishes, and both health checks ask for readiness."""
    text = (ROOT / "compose.yaml").read_text()
    content = textwrap.dedent(text.partition("  mta:\n    content: |\n")[2].partition("\n  grafana-datasource:")[0])
    content = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", content).replace("/var/lib/imprimatur", str(tmp_path))
    (tmp_path / "mta.toml").write_text(content)
    settings = load_file(tmp_path / "mta.toml")
    assert settings.web.public
    listeners = [*settings.submission.listeners, *settings.reports.listeners]
    wanted = {settings.web.port, settings.web.public.port, *(listener.port for listener in listeners)}
    assert wanted == {int(port) for port in re.findall(r"^      - \"(?:[\d.]+:)?\d+:(\d+)\"", text, re.M)} - {3000}
    exposed = next(each for each in stages(DOCKERFILE)[-1].instructions if each.word == "EXPOSE")
    assert wanted == {int(port) for port in exposed.text.split()}


@pytest.mark.nightly
@pytest.mark.timeout(3600)
@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("debootstrap"), reason="needs root and debootstrap")
def test_it_builds_starts_and_is_healthy(tmp_path: Path) -> None:
    binds = [word for folder in os.environ.get("IMAGE_BINDS", "").split() for word in ("--bind", folder)]
    subprocess.run([sys.executable, str(ROOT / "tests/container/build.py"), *binds], check=True)

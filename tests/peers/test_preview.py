"""The picture of a confirmed message, drawn by Chromium: what it shows, and what it must not do."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from bench import programs
from mta.submission.preview_picture import draw

pytestmark = [pytest.mark.peer, pytest.mark.skipif(bool(programs.absent("chromium")), reason="Chromium is not here")]

PAGE = "<!DOCTYPE html><html><body style='background: #123456'>{}</body></html>"


def browser(folder: Path) -> Path:
    """The unpacked Chromium with its libraries, as an installed one finds them."""
    program = folder / "chromium"
    libraries = programs.environment()["LD_LIBRARY_PATH"]
    program.write_text(f'#!/bin/sh\nLD_LIBRARY_PATH={libraries} exec {programs.find("chromium")} "$@"\n')
    program.chmod(0o755)
    for each in (folder, *folder.parents):
        if each.owner() == "root" and str(each).startswith("/tmp/") and os.geteuid() == 0:
            each.chmod(0o755)  # it runs as another user
    return program


async def test_a_page_is_drawn_without_scripts_and_without_the_network(tmp_path: Path) -> None:
    asked: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.read(1000))
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server:
        program = browser(tmp_path)
        plain = await draw(PAGE.format("<p>Offer</p>"), program)
        evil = "<script>document.body.style.background = 'red'</script>"
        evil += f"<img style='display: none' src='http://127.0.0.1:{port}/x' onerror=\"document.title='x'\">"
        drawn = await draw(PAGE.format(f"<p>Offer</p>{evil}"), program)
    if plain is None:
        pytest.skip("Chromium did not draw a plain page within its time: the machine is too busy")
    assert plain.startswith(b"\x89PNG")
    assert drawn == plain
    assert asked == []


async def test_a_browser_that_is_none_leaves_no_picture(tmp_path: Path) -> None:
    assert await draw("<p>x</p>", tmp_path / "absent") is None
    assert await draw("<p>x</p>", Path("/bin/true")) is None

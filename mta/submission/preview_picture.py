"""Draw a message's page as its readers see it, by a Chromium that is cut off from everything.

The page is given to a headless browser whose every name resolves to nothing and whose proxy is nobody, with a content
security policy in front that allows inline styles and pictures in the page itself, and no scripts. It has a directory
of its own, its own sandbox and a few seconds, and is killed with all its processes then.

Invariants: nothing is loaded, from the network or from files. No picture is no fault: it is never required.

Limitations: pictures by their address do not show; Chromium does not start as root without another user to be.
"""

from __future__ import annotations

import asyncio
import os
import pwd
import shutil
import signal
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory

from mta.observe.log import get_logger

NAMES = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
SECONDS = 20.0
WIDTH, HEIGHT = 700, 2400  # pixels
MAX_OCTETS = 4 * 1024 * 1024  # of a picture
NOBODY = "nobody"
PNG = b"\x89PNG"

_FLAGS = (
    "--headless", "--no-first-run", "--disable-gpu", "--disable-background-networking", "--disable-component-update",
    "--disable-default-apps", "--disable-extensions", "--disable-sync", "--disable-dev-shm-usage", "--hide-scrollbars",
    "--host-resolver-rules=MAP * ~NOTFOUND", "--proxy-server=127.0.0.1:9",
    "--proxy-bypass-list=<-loopback>",
)  # fmt: skip
_POLICY = (
    '<meta charset="utf-8"><meta http-equiv="Content-Security-Policy" '
    "content=\"default-src 'none'; style-src 'unsafe-inline'; img-src data:\">"
)

log = get_logger()


def find_browser(configured: Path | None) -> Path | None:
    """Return the Chromium to use: the configured one, else one in PATH; None if there is none."""
    if configured is not None:
        return configured
    found = next(filter(None, map(shutil.which, NAMES)), None)
    return Path(found) if found else None


async def draw(page: str, browser: Path) -> bytes | None:
    """Return the picture of a page, PNG; None, with the reason in the log, if it cannot be drawn."""
    try:
        return await asyncio.to_thread(_drawn, page, browser)
    except (OSError, subprocess.TimeoutExpired, KeyError) as error:
        log.warning("preview not drawn", browser=str(browser), why=str(error))
        return None


def _drawn(page: str, browser: Path) -> bytes:
    """Raises OSError, TimeoutExpired, KeyError if there is no user to be."""
    with TemporaryDirectory(prefix="preview-") as name:
        folder = Path(name)
        source, picture = folder / "page.html", folder / "page.png"
        source.write_text(_POLICY + page, encoding="utf-8")
        user = NOBODY if os.geteuid() == 0 else None
        if user is not None:
            _give(folder, user)
        command = (
            str(browser), *_FLAGS, f"--window-size={WIDTH},{HEIGHT}", f"--user-data-dir={folder / 'profile'}",
            f"--screenshot={picture}", source.as_uri(),
        )  # fmt: skip
        process = subprocess.Popen(
            command,
            cwd=name,
            env={"HOME": name, "PATH": os.environ.get("PATH", ""), "LANG": "C.UTF-8"},
            user=user,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            process.wait(SECONDS)
        finally:
            _end(process.pid)
            process.wait()
        with os.fdopen(os.open(picture, os.O_RDONLY | os.O_NOFOLLOW), "rb") as file:
            octets = file.read(MAX_OCTETS + 1)
        if not octets.startswith(PNG) or len(octets) > MAX_OCTETS:
            raise OSError("it has written no picture, or one that is too large")
        return octets


def _give(folder: Path, user: str) -> None:
    account = pwd.getpwnam(user)
    for path in (folder, folder / "page.html"):
        os.chown(path, account.pw_uid, account.pw_gid)


def _end(pid: int) -> None:
    """Kill the browser and all that it has started."""
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        return

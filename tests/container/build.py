#!/usr/bin/env python3
"""Carry out the Dockerfile in a root made by debootstrap, start what it makes, and ask its health check.

    tests/container/build.py [--base DIR] [--bind DIR]... [--keep]

Needs root and debootstrap, no container engine, no registry of images: each stage is a copy of the base root, and its
instructions are carried out in it by chroot, in their order, as they stand. The result is started in a network of its
own, as its user, and stopped by SIGTERM.

Limitations: the base is Debian of the image's name with Debian's Python, not the Python image itself. ``--bind`` makes
a directory of this machine visible, for pip's local packages; pip's configuration comes along.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.container.dockerfile import ImageStage, command, expand, is_in_context, pairs, stages

ROOT = Path(__file__).parents[2]
PACKAGES = "python3,python3-venv,python3-pip,ca-certificates"
HEALTHY_WITHIN = 90.0  # seconds
PIP_FILES = ("/etc/pip.conf", "/etc/xdg/pip/pip.conf", "/root/.config/pip/pip.conf", "/etc/xdg/pip/constraints.txt")


def run(*words: str | Path, **options: object) -> None:
    subprocess.run([str(word) for word in words], check=True, **options)  # type: ignore[call-overload]


def suite(base: str) -> str:
    """Return Debian's release of a Python image: the last part of its tag."""
    return base.partition("@")[0].rpartition("-")[2]


def make_base(folder: Path, release: str) -> None:
    """Make a root in which `python` and `pip` are as in the Python image: in the path, and free to install."""
    if not (folder / "usr/bin/python3").exists():
        run("debootstrap", "--variant=minbase", f"--include={PACKAGES}", release, folder)
    if not (link := folder / "usr/local/bin/python").is_symlink():
        link.symlink_to("/usr/bin/python3")
    for marker in folder.glob("usr/lib/python3*/EXTERNALLY-MANAGED"):
        marker.unlink()


class Root:
    """One stage's file system, and the state that its instructions leave."""

    def __init__(self, folder: Path, binds: list[Path]) -> None:
        self.folder, self._binds = folder, binds
        self.environment = {"PATH": "/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root"}
        self.directory, self.user = "/", "0"
        self.settings: dict[str, str] = {}

    def prepare(self) -> None:
        for name in ("/etc/resolv.conf", "/etc/hosts", "/etc/ssl/certs/ca-certificates.crt", *PIP_FILES):
            if Path(name).is_file():
                target = self.folder / name[1:]
                target.parent.mkdir(parents=True, exist_ok=True)
                target.unlink(missing_ok=True)
                shutil.copyfile(name, target)
        for each in self._binds:
            (self.folder / str(each)[1:]).mkdir(parents=True, exist_ok=True)
        (self.folder / "dev/shm").mkdir(exist_ok=True)

    def words(self, *words: str, network: bool = True) -> list[str]:
        """Return the command that runs ``words`` in the root, with /proc, /dev and the binds mounted for it alone."""
        mounts = ["mount -t proc proc $0/proc", "mount --rbind /dev $0/dev", "mount -t tmpfs tmpfs $0/dev/shm"]
        mounts += [f"mount --bind -o ro {each} $0{each}" for each in self._binds]
        if not network:
            mounts.append("echo 0 > /proc/sys/net/ipv4/ip_unprivileged_port_start")  # as in a container
            mounts.append("ip link set lo up 2>/dev/null || python3 -c '" + LOOPBACK_UP + "'")
        inner = 'exec chroot --userspec="$1" "$0" /bin/sh -c \'cd "$0" && exec "$@"\' "$2" "${@:3}"'
        spaces = ["unshare", "--mount", "--pid", "--fork", "--kill-child", *([] if network else ["--net"])]
        script = " && ".join([*mounts, inner])
        return [*spaces, "bash", "-c", script, str(self.folder), f"{self.user}:{self.user}", self.directory, *words]

    def run(self, *words: str) -> None:
        run(*self.words(*words), env=self.environment | {k: v for k, v in os.environ.items() if k.startswith("PIP_")})


LOOPBACK_UP = 'import fcntl, socket, struct; fcntl.ioctl(socket.socket(), 0x8914, struct.pack("16sh14x", b"lo", 1))'


def build(work: Path, base: Path, binds: list[Path]) -> Root:
    """Carry out every stage; return the last one's root."""
    done: dict[str, Root] = {}
    root: Root | None = None
    for stage in stages((ROOT / "Dockerfile").read_text()):
        source = done[stage.base].folder if stage.base in done else base
        root = done[stage.name] = Root(work / f"stage-{stage.name}", binds)
        print(f"== stage {stage.name} from {stage.base}", flush=True)
        run("cp", "--archive", "--reflink=auto", source, root.folder)
        root.prepare()
        carry_out(stage, root, done)
    assert root
    return root


def carry_out(stage: ImageStage, root: Root, done: dict[str, Root]) -> None:
    for each in stage.instructions:
        text = expand(each.text, root.environment) if each.word in ("ENV", "COPY", "WORKDIR", "USER") else each.text
        print(f"   {each.line}: {each.word} {text[:100]}", flush=True)
        match each.word:
            case "RUN":
                root.run("/bin/sh", "-c", text)
            case "COPY":
                copy(text, root, done)
            case "ENV":
                root.environment |= pairs(text)
            case "WORKDIR":
                root.directory = text
                (root.folder / text[1:]).mkdir(parents=True, exist_ok=True)
            case "USER":
                root.user = text
            case "HEALTHCHECK":
                root.settings[each.word] = text.partition("CMD ")[2]
            case "ENTRYPOINT" | "CMD":
                root.settings[each.word] = text


def copy(text: str, root: Root, done: dict[str, Root]) -> None:
    *words, target = text.split()
    stage = next((word.removeprefix("--from=") for word in words if word.startswith("--from=")), None)
    place = root.folder / os.path.join(root.directory, target)[1:]
    for name in (word for word in words if not word.startswith("--")):
        if stage is None and not is_in_context(name, ROOT / ".dockerignore"):
            raise SystemExit(f"COPY {name}: .dockerignore keeps it out of the context")
        source = done[stage].folder / name.lstrip("/") if stage else ROOT / name
        to = place / source.name if target.endswith("/") else place
        to.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, to, symlinks=True, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(source, to)


def try_out(root: Root) -> None:
    """Start the image's command, wait until its health check succeeds, and stop it as Docker would."""
    words = command(root.settings["ENTRYPOINT"]) + command(root.settings["CMD"])
    check = " ".join(f"'{word}'" if "'" not in word else f'"{word}"' for word in command(root.settings["HEALTHCHECK"]))
    script = (
        f"{' '.join(words)} & main=$!; end=$(($(date +%s) + {HEALTHY_WITHIN:.0f})); "
        f"until {check} 2>/dev/null; do "
        "kill -0 $main || exit 1; [ $(date +%s) -lt $end ] || exit 2; sleep 1; done; "
        "echo HEALTHY; mta --version; kill -TERM $main; wait $main; echo STOPPED $?"
    )
    started = time.monotonic()
    done = subprocess.run(
        root.words("/bin/sh", "-c", script, network=False), env=root.environment, capture_output=True, text=True
    )
    print(done.stdout[-3000:], done.stderr[-3000:], sep="\n")
    if done.returncode or "HEALTHY" not in done.stdout or "STOPPED 0" not in done.stdout:
        raise SystemExit(f"the image's command is not healthy (status {done.returncode})")
    print(f"healthy, and stopped in order, in {time.monotonic() - started:.0f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", type=Path, help="a root made before, or where to make one and leave it")
    parser.add_argument("--bind", type=Path, action="append", default=[])
    parser.add_argument("--keep", action="store_true", help="leave the stages' roots")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    if os.geteuid():
        raise SystemExit("debootstrap and chroot need root")
    work = Path(tempfile.mkdtemp(prefix="imprimatur-image-"))
    try:
        base = options.base or work / "base"
        make_base(base, suite(stages((ROOT / "Dockerfile").read_text())[0].base))
        try_out(build(work, base, options.bind))
    finally:
        if not options.keep:
            shutil.rmtree(work)


if __name__ == "__main__":
    main()

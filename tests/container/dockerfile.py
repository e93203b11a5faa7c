"""Read a Dockerfile: its stages and their instructions, in order.

Limitations: what our Dockerfile uses. An instruction that is not known is an error, so that nothing is left out unseen.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

IGNORED = {"EXPOSE", "STOPSIGNAL", "VOLUME", "LABEL"}  # say something about the image and change nothing in it
KNOWN = {"FROM", "ARG", "RUN", "COPY", "ENV", "USER", "WORKDIR", "HEALTHCHECK", "ENTRYPOINT", "CMD"} | IGNORED


@dataclass(frozen=True, slots=True)
class Instruction:
    word: str
    text: str
    line: int


@dataclass(slots=True)
class ImageStage:
    """``base``: the image or the stage that it begins with."""

    base: str
    name: str
    instructions: list[Instruction] = field(default_factory=list)


def instructions(text: str) -> Iterator[Instruction]:
    """Yield the instructions, their lines joined. Raises ValueError."""
    pending, begun = "", 0
    for number, line in enumerate(text.splitlines(), 1):
        if line.lstrip().startswith("#") or (not line.strip() and not pending):
            continue
        begun = begun if pending else number
        pending += line.removesuffix("\\").rstrip() + " "
        if line.endswith("\\"):
            continue
        word, _, rest = pending.strip().partition(" ")
        if word.upper() not in KNOWN:
            raise ValueError(f"Dockerfile:{begun}: {word} is not known here")
        yield Instruction(word.upper(), rest.strip(), begun)
        pending = ""


def stages(text: str) -> list[ImageStage]:
    """Return the stages; ARG before the first FROM is filled in. Raises ValueError."""
    found: list[ImageStage] = []
    arguments: dict[str, str] = {}
    for each in instructions(text):
        if each.word == "FROM":
            base, _, name = each.text.partition(" AS ")
            found.append(ImageStage(expand(base.strip(), arguments), name.strip() or str(len(found))))
        elif each.word == "ARG" and not found:
            name, _, value = each.text.partition("=")
            arguments[name] = value
        elif found:
            found[-1].instructions.append(each)
        else:
            raise ValueError(f"Dockerfile:{each.line}: {each.word} before the first FROM")
    return found


def expand(text: str, values: dict[str, str]) -> str:
    return re.sub(r"\$\{?(\w+)\}?", lambda match: values.get(match[1], ""), text)


def pairs(text: str) -> dict[str, str]:
    """Return the variables of an ENV instruction."""
    return dict(word.split("=", 1) for word in shlex.split(text))


def command(text: str) -> list[str]:
    """Return the words of an instruction in exec form."""
    words = json.loads(text)
    assert isinstance(words, list)
    return [str(word) for word in words]


def is_in_context(path: str, ignore_file: Path) -> bool:
    """Return whether .dockerignore lets ``path`` or something in it into the context: `*`, then what is let in."""
    allowed = [line[1:] for line in ignore_file.read_text().splitlines() if line.startswith("!")]
    return any(path == each or path.startswith(f"{each}/") for each in allowed)

r"""Checks written as SMTP dialogues: the tables under ``tables/`` and how they are read and played.

    5321-4.1.1.5-a RSET forgets the transaction
        begin
        C: RSET
        S: 250 2.0.0
        C: DATA
        S: 503 5.5.1

A check begins with its id, which is RFC, clause and a letter, and the requirement; its steps are indented.

    C: line      what the client sends, or in ``client.txt`` a regular expression for what it must send
    S: line      the other way round: a regular expression for the next reply, or what the receiver answers
    c: s:        the same without the CRLF
    S*: 100 X    the next hundred replies match X
    S+: S-:      must, must not be found in the reply that came last
    closed       the other end closes the connection
    tls          the TLS handshake, after STARTTLS
    on WORDS     where and how the dialogue takes place (``PLACES`` in the tests)
    begin        MAIL and RCPT for this check's own recipient; ``data``: and DATA
    G: G-:       must, must not be found in the message that the receiver got
    E: E-:       ... in the envelope that the receiver got, a line for each command
    D: D-:       ... in the delivery status notification that the sender got
    R:           a recipient's result: local part, code, status (``client.txt``)
    M:           must be found in the message that the client sends now (``client.txt``)
    alone        nothing had come with the client's last line (``client.txt``)
    deviates:    why we do otherwise: the check is expected to fail

Lines of the same kind that follow each other are sent in one packet. ``{name}`` is a variable, ``{64*a}`` repeats,
``{b64:...}`` encodes; \r \n \t \0 \xHH \\ are octets.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

TABLES = Path(__file__).parent / "tables"

_TITLE = re.compile(r"(\d+|[A-Z-]+)-([\w.]+)-([a-z]\d?) (\S.*)\Z")
_STEP = re.compile(
    r"(?:(C|S|c|s|S\*|S\+|S-|G|G-|E|E-|D|D-|R|M|M-|deviates):(?: (.*))?|(closed|tls|on|begin|data|alone)\b ?(.*))\Z"
)
_MACRO = re.compile(r"\{(?:(\d+)\*([^}]+)|b64:([^}]*)|([a-z]\w*))\}")
_ESCAPE = re.compile(rb"\\(?:x([0-9a-fA-F]{2})|([rnt0\\]))")
_OCTETS = {b"r": b"\r", b"n": b"\n", b"t": b"\t", b"0": b"\0", b"\\": b"\\"}


@dataclass(frozen=True, slots=True)
class Step:
    """``kind``: the word before the colon, or the whole word. ``line``: where it stands, for error messages."""

    kind: str
    text: str
    line: int


@dataclass(frozen=True, slots=True)
class Check:
    """One requirement of one clause, and the dialogue that shows whether it is met."""

    id: str
    rfc: str
    clause: str
    requirement: str
    table: str
    steps: tuple[Step, ...]

    @property
    def deviation(self) -> str | None:
        return next((step.text for step in self.steps if step.kind == "deviates"), None)

    @property
    def places(self) -> list[str]:
        return [word for step in self.steps if step.kind == "on" for word in step.text.split()]

    def __str__(self) -> str:
        return self.id


def read_table(name: str) -> list[Check]:
    """Read ``tables/NAME.txt``. Raises ValueError with the line that is none of the above."""
    checks: list[Check] = []
    steps: list[Step] = []
    for number, line in enumerate((TABLES / f"{name}.txt").read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        if not line.startswith(" "):
            title = _TITLE.match(line)
            if not title:
                raise ValueError(f"{name}.txt:{number}: not ID REQUIREMENT: {line}")
            rfc, clause, letter, requirement = title.groups()
            steps = []
            checks.append(Check(f"{rfc}-{clause}-{letter}", rfc, clause, requirement, name, ()))
        else:
            step = _STEP.match(line.strip())
            if not step or not checks:
                raise ValueError(f"{name}.txt:{number}: not a step: {line}")
            steps.append(Step(step[1] or step[3], step[2] or step[4] or "", number))
            last = checks[-1]
            checks[-1] = Check(last.id, last.rfc, last.clause, last.requirement, name, tuple(steps))
    return checks


def octets(text: str, variables: Mapping[str, str]) -> bytes:
    """Return what ``text`` stands for, for sending."""
    encoded = expand(text, variables).encode()
    return _ESCAPE.sub(lambda found: bytes.fromhex(found[1].decode()) if found[1] else _OCTETS[found[2]], encoded)


def expand(text: str, variables: Mapping[str, str]) -> str:
    """Replace what stands between braces; other braces stay."""

    def value(found: re.Match[str]) -> str:
        if found[1]:
            return found[2] * int(found[1])
        if found[3] is not None:
            return base64.b64encode(octets(found[3].replace("[", "{").replace("]", "}"), variables)).decode()
        return variables.get(found[4], found[0])

    return _MACRO.sub(value, text)


def grouped(steps: tuple[Step, ...]) -> Iterator[list[Step]]:
    """Steps that are sent together come together; others alone."""
    group: list[Step] = []
    for step in steps:
        if group and step.kind.lower() != group[0].kind.lower():
            yield group
            group = []
        group.append(step)
        if step.kind not in ("C", "c", "S", "s"):
            yield group
            group = []
    if group:
        yield group

"""A confirmed message as a reference: the other messages of its mailing are the same but for its variables.

``References`` are compiled once from what was confirmed; a comparison is then linear in the message. What is compared:
the names of sender, author and those who get replies; the subject; the structure; each text and page in source; each
other part to the octet.

Invariants: a message that matches says what was confirmed, in every view that a program may choose, but for values of
the variables. Whatever cannot be compared does not match.

Limitations: what stands behind a link or a picture's address may change without notice. Parts named at random
(``cid:`` of a picture) must be named the same in all messages.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import field
from hashlib import sha256

from mta.mail.address import Address
from mta.mail.headers import Headers, unfold
from mta.mail.values import dataclass
from policy.mailing.inference import NotASample, as_for, infer, learn
from policy.mailing.outline import Outline, outline_of
from policy.mailing.template import Template, TextDifference
from policy.mailing.variables import Reader, Variable, VariableKind
from policy.text.header_text import LONGEST, decoded, shown
from policy.text.message_text import MessageText

MAX_REFERENCES = 100  # of one mailing, with their samples
MAX_OCTETS = 2 * 1024 * 1024  # of a reference
MAX_SLOTS = 12
BETWEEN = 140  # octets by which the lines between two parts may grow: a boundary has 70 at most (RFC 2046 5.1.1)
BLANK = 200  # more characters of white space in a plain text, whose lines are broken elsewhere

_SAME = (b"from", b"sender", b"reply-to")
_PROBES = {
    VariableKind.ADDRESS: "nobody@example.invalid",
    VariableKind.NAME: "Xqz",
    VariableKind.NUMBER: "0",
    VariableKind.CODE: "X0",
    VariableKind.TOKEN: "0x",
}


class UnfitReference(ValueError):
    """Why a message cannot be a reference, or a sample of one."""


@dataclass(frozen=True, slots=True)
class ReadMessage:
    """A message to be compared: its header, whom it is for, what it says, its octets."""

    headers: Headers
    reader: Reader
    reading: MessageText
    size: int
    outline: Outline | None

    @classmethod
    def of(cls, headers: Headers, reading: MessageText, size: int, recipients: Sequence[Address] = ()) -> ReadMessage:
        """``recipients``: those of the envelope; without them the To field counts."""
        return cls(headers, Reader(headers, recipients), reading, size, outline_of(reading))

    @property
    def between(self) -> int:
        """The octets of the body that belong to no part: boundaries, and what no program shows."""
        leaves = self.outline.leaves if self.outline else ()
        return self.size - self.headers.size - sum(part.encoded_size for part in leaves)


@dataclass(frozen=True, slots=True)
class Matched:
    """The message is the same as a reference. ``values``: those of the variables that say something."""

    reference: Reference
    values: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class BeingConfirmed:
    """The message is judged because someone confirms it."""


@dataclass(frozen=True, slots=True)
class Unmatched:
    """The message is none of the references. ``text``: how it differs from the one that is most like it."""

    number: int
    text: str
    reached: int = 0


Compared = Matched | Unmatched | BeingConfirmed


@dataclass(frozen=True, slots=True)
class _Body:
    """What is compared of a part without parts: a text, or the hash of anything else. ``blank``: the white space that
    joining the lines of a text takes out."""

    template: Template | None
    is_page: bool = False
    blank: int = 0
    digest: bytes = b""


@dataclass(frozen=True, slots=True)
class Reference:
    """One confirmed message, compiled. ``number``: within its mailing. ``probe``: what it says with other values for
    the variables, to see what depends on them. ``passes``: what the rules of a chain found, which keeps it here."""

    number: int
    source: ReadMessage
    same: tuple[tuple[str, ...], ...]
    subject: Template
    bodies: tuple[_Body, ...]
    probe: MessageText
    passes: dict[object, tuple[object, str | None]] = field(default_factory=dict, compare=False, repr=False)

    @property
    def variables(self) -> Iterator[tuple[str, Variable]]:
        """What may vary, and what stands there in the reference."""
        for template in (self.subject, *(body.template for body in self.bodies if body.template)):
            for each in template.variables:
                yield template.text[each.start : each.end], each

    def compare(self, source: ReadMessage) -> Matched | Unmatched:
        """Return whether a message is the same."""
        outline, reader = source.outline, source.reader
        if outline is None or not self._has_shape(source):
            return Unmatched(self.number, "it has other parts")
        for name, ours, theirs in zip(_SAME, self.same, _values(source.headers, _SAME), strict=True):
            if ours != theirs:
                return Unmatched(self.number, f"its {name.decode().title()} field is not the same", 1)
        slots: dict[str, str] = {}
        found = self.subject.values(_subject(source.headers), reader, slots)
        if isinstance(found, TextDifference):
            return Unmatched(self.number, f"in its subject, {found.text}", 1 + found.reached)
        reached = 1000
        for body, part in zip(self.bodies, outline.leaves, strict=True):
            if body.template is None:
                if body.digest != _digest(part.octets):
                    return Unmatched(self.number, f"its part {shown(part.kind.type)} is not the same", reached)
                continue
            written = source.reading.text_of(part)
            text = _normal(written, body.is_page)
            if len(written) - len(text) > body.blank + BLANK:
                return Unmatched(self.number, f"its {part.kind.type} has more blank lines", reached)
            found = body.template.values(text, reader, slots)
            if isinstance(found, TextDifference):
                return Unmatched(self.number, f"in its {part.kind.type}, {found.text}", reached + found.reached)
            reached += len(text)
        return Matched(self, tuple(slots.values()))

    def taught(self, sample: ReadMessage) -> Reference:
        """Return the reference with what a sample shows to be variable. Raises UnfitReference."""
        outline = sample.outline
        if outline is None or not self._has_shape(sample):
            raise UnfitReference("it has other parts")
        try:
            subject = learn(self.subject.text, _subject(sample.headers), is_page=False)
            learned: list[Sequence[Variable]] = []
            for body, part in zip(self.bodies, outline.leaves, strict=True):
                if body.template is None:
                    learned.append(())
                    continue
                ours = body.template.text
                text = _normal(sample.reading.text_of(part), body.is_page)
                text = as_for(text, sample.reader, ours, self.source.reader)
                learned.append(learn(ours, text, is_page=body.is_page))
        except NotASample as error:
            raise UnfitReference(str(error)) from None
        bodies = [body.template.variables if body.template else () for body in self.bodies]
        taught = _compiled(
            self.number,
            self.source,
            (*subject, *_learned(self.subject.variables)),
            [(*new, *_learned(old)) for new, old in zip(learned, bodies, strict=True)],
        )
        compared = taught.compare(sample)
        if isinstance(compared, Unmatched):
            raise UnfitReference(compared.text)
        return taught

    def _has_shape(self, source: ReadMessage) -> bool:
        ours, theirs = self.source.outline, source.outline
        if ours is None or theirs is None or ours.shape != theirs.shape:
            return False
        return source.between <= self.source.between + BETWEEN * len(ours.shape)


@dataclass(frozen=True, slots=True)
class References:
    """All that was confirmed of a mailing. ``octets``: what they take in memory, about."""

    all: tuple[Reference, ...]

    @property
    def octets(self) -> int:
        return sum(4 * each.source.size for each in self.all)

    def compare(self, source: ReadMessage) -> Matched | Unmatched:
        """Return which reference a message is the same as, or how it differs."""
        closest = Unmatched(0, "nothing of this mailing was confirmed", -1)
        for reference in self.all:
            compared = reference.compare(source)
            if isinstance(compared, Matched):
                return compared
            closest = max(closest, compared, key=lambda each: each.reached)
        return closest


def compile_reference(number: int, source: ReadMessage) -> Reference:
    """Return a confirmed message as a reference. Raises UnfitReference."""
    if source.size > MAX_OCTETS:
        raise UnfitReference(f"it has more than {MAX_OCTETS} octets; link large parts")
    return _compiled(number, source, (), None)


def source_of(content: bytes) -> ReadMessage:
    """Return a confirmed message, which is for whom its To field names. Raises HeaderError."""
    return ReadMessage.of(Headers.split(content), MessageText(content), len(content))


def compile_references(confirmed: Sequence[tuple[int, int | None, bytes]]) -> References:
    """Return the references of a mailing: of each its number, that of the reference which it is a sample of, and the
    message. What does not fit is left out: it was refused when it was confirmed."""
    found: dict[int, Reference] = {}
    for number, sample_of, content in confirmed[:MAX_REFERENCES]:
        source = source_of(content)
        try:
            if sample_of is None:
                found[number] = compile_reference(number, source)
            elif sample_of in found:
                found[sample_of] = found[sample_of].taught(source)
        except UnfitReference:
            continue
    return References(tuple(found.values()))


def _compiled(
    number: int, source: ReadMessage, of_subject: Sequence[Variable], of_bodies: Sequence[Sequence[Variable]] | None
) -> Reference:
    """Raises UnfitReference."""
    outline, reader = source.outline, source.reader
    if outline is None:
        raise UnfitReference("its parts cannot be told apart")
    if source.reading.fault:
        raise UnfitReference(source.reading.fault)
    text = _subject(source.headers)
    subject = Template(text, infer(text, reader, is_page=False, learned=of_subject))
    bodies = []
    for part, learned in zip(outline.leaves, of_bodies or [()] * len(outline.leaves), strict=True):
        if not part.is_body:
            bodies.append(_Body(None, digest=_digest(part.octets)))
            continue
        page = part.is_page
        written = source.reading.text_of(part)
        text = _normal(written, page)
        template = Template(text, infer(text, reader, is_page=page, learned=learned))
        bodies.append(_Body(template, page, len(written) - len(text)))
    slots = {each.slot for body in bodies if body.template for each in body.template.variables if each.slot}
    if len(slots) > MAX_SLOTS:
        raise UnfitReference(f"more than {MAX_SLOTS} words of it would vary; send these texts as mailings of their own")
    values = _values(source.headers, _SAME)
    return Reference(number, source, values, subject, tuple(bodies), _probe(source, bodies))


def _probe(source: ReadMessage, bodies: Sequence[_Body]) -> MessageText:
    """Return the message with other values for the variables of its texts."""
    texts = {
        n: body.template.filled(lambda variable: _PROBES[variable.kind])
        for n, body in enumerate(bodies)
        if body.template
    }
    return source.reading.with_texts(texts)


def _learned(variables: Sequence[Variable]) -> list[Variable]:
    return [each for each in variables if not each.bound and each.kind is not VariableKind.ADDRESS]


def _normal(text: str, page: bool) -> str:
    """Return the source of a page as it is, a plain text with its lines joined: a longer name breaks them elsewhere."""
    return text if page else " ".join(text.split())


def _subject(headers: Headers) -> str:
    values = map(unfold, headers.all(b"subject"))
    return "\n".join(value if len(value) > LONGEST else decoded(value) for value in values)


def _values(headers: Headers, names: Sequence[bytes]) -> tuple[tuple[str, ...], ...]:
    return tuple(tuple(unfold(value).strip() for value in headers.all(name)) for name in names)


def _digest(content: bytes) -> bytes:
    return sha256(content).digest()

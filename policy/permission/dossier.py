"""The dossier: the proof that a person agreed to be mailed, as an abuse desk sends it on request.

One order of facts, four forms: text, JSON, one self-contained HTML page, and PDF (``dossier_pdf``). The texts are in
``config/languages``; recorded data is shown as recorded, in its own language.

Invariants: missing, revoked and erased items are always shown.

Limitations: validity is judged by the usual terms (18 months), not by those of the account's profile.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from html import escape
from typing import Any, assert_never

from policy.accounts.account import Account, Identity
from policy.base import Suppression
from policy.correspondence import wrap
from policy.languages import load_texts
from policy.local_format import LocalFormat
from policy.permission.consent import (
    EVERY_TOPIC,
    Absent,
    Basis,
    Consent,
    Holds,
    Incomplete,
    Judgement,
    Lapsed,
    OffTopic,
    OtherGoods,
    Revoked,
    Terms,
    Unacceptable,
    judge,
)
from policy.permission.evidence import Assessor, evidence_of
from policy.permission.ledger import EntryKind

LABEL = 38  # columns of text for a label
WIDTH = 110
_TIME = datetime.fromisoformat
_QUOTED = frozenset({"statement", "category", "informed", "relation", "recorded"})  # in the words of whoever said so
_TIMES = frozenset({"given_at", "confirmed_at", "revoked_at", "seen_at"})
_ORDER = (
    "basis", "confirmation", "topics", "topic", "given_at", "confirmed_at", "revoked_at", "seen_at", "sign",
    "source_url", "ip", "confirm_ip", "statement", "statement_version", "language", "preticked", "sponsors",
    "document", "purchase", "category", "objection_offered", "informed", "relation", "collector", "reason", "recorded",
    "missing", "by", "at", "hash",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class LedgerProof:
    """One entry of the ledger. ``said``: as it was recorded; None: erased."""

    number: int
    at: datetime
    kind: EntryKind
    hash: bytes
    said: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True)
class Dossier:
    """What one account's ledger has about one address."""

    address: str
    account: Account
    made_at: datetime
    proofs: tuple[LedgerProof, ...]
    consents: tuple[Consent, ...]
    suppressions: tuple[Suppression, ...]


@dataclass(frozen=True, slots=True)
class Block:
    """A heading, and facts with their labels; a fact without a label is a sentence."""

    title: str
    facts: tuple[tuple[str, str], ...]


class DossierTooLong(ValueError):
    """The dossier has more pages than a PDF may have."""


class Writer:
    """Writes dossiers in the language of ``local``."""

    def __init__(self, local: LocalFormat, assessor: Assessor, issuer: str) -> None:
        """``issuer``: who runs the service."""
        self._local, self._assessor, self._issuer = local, assessor, issuer
        self._words = load_texts()[local.language].dossier

    def text(self, dossiers: Sequence[Dossier]) -> str:
        """For a terminal or a mail."""
        lines = [self._label("title").upper()]
        for block in self._all(dossiers):
            lines += ["", block.title, "-" * len(block.title)]
            for label, fact in block.facts:
                pieces = [piece for line in fact.splitlines() for piece in wrap(line, WIDTH - LABEL) or [""]] or [""]
                heads = [label, *[""] * (len(pieces) - 1)]
                lines += [f"{head:{LABEL}}{piece}".rstrip() for head, piece in zip(heads, pieces, strict=True)]
        return "\n".join(lines) + "\n"

    def html(self, dossiers: Sequence[Dossier]) -> str:
        """One page; nothing of what was recorded is taken for markup."""
        title = escape(self._label("title"))
        body = "".join(_section(block) for block in self._all(dossiers))
        return (
            f'<!DOCTYPE html>\n<html lang="{self._local.language.value}"><head><meta charset="utf-8">'
            f"<title>{title}</title><style>{_STYLE}</style></head><body><h1>{title}</h1>\n{body}</body></html>\n"
        )

    def pdf(self, dossiers: Sequence[Dossier]) -> bytes:
        """Sheets to print and to keep. Raises DossierTooLong."""
        from policy.permission.dossier_pdf import write_pdf  # noqa: PLC0415 (fpdf2 takes time and memory to import)

        return write_pdf(
            self._all(dossiers),
            title=self._label("title"),
            language=self._local.language.value,
            page=self._label("page"),
            issuer=self._issuer,
            at=max((each.made_at for each in dossiers), default=datetime(1970, 1, 1, tzinfo=UTC)),
        )

    def _all(self, dossiers: Sequence[Dossier]) -> Iterator[Block]:
        for dossier in dossiers:
            yield from self.blocks(dossier)

    def blocks(self, dossier: Dossier) -> Iterator[Block]:
        """The facts in order: whom it is about, how things stand, every entry."""
        yield Block(self._label("subject"), tuple(self._subject(dossier)))
        yield Block(self._label("state"), tuple(self._state(dossier)))
        for proof in dossier.proofs:
            heading = self._fill("labels", proof.kind.value, number=proof.number)
            yield Block(heading, tuple(self._proof(proof, dossier.account)))

    def _subject(self, dossier: Dossier) -> Iterator[tuple[str, str]]:
        account = dossier.account
        if dossier.address:
            yield self._label("address"), dossier.address
        yield self._label("account"), account.name
        if identity := _identity(account.identities, self._local.language.value):
            yield self._label("sender"), ", ".join(identity.names)
            place = " ".join(part for part in (identity.postcode, identity.city) if part)
            if postal := ", ".join(
                part for part in (identity.street, place, self._local.country(identity.country)) if part
            ):
                yield self._label("postal"), postal
            if register := " ".join(part for part in (identity.register, identity.number) if part):
                yield self._label("register"), register
        yield self._label("issuer"), self._issuer
        yield self._label("made_at"), self._moment(dossier.made_at)

    def _state(self, dossier: Dossier) -> Iterator[tuple[str, str]]:
        if not dossier.proofs:
            yield "", self._label("nothing")
        else:
            yield "", self._label("ledger")
        for topic in sorted({topic for consent in dossier.consents for topic in consent.topics}):
            found = judge(dossier.consents, topic, dossier.made_at, Terms())
            yield self._topic(topic), self._judgement(found)
        for name in ("contacted_at", "clicked_at", "bought_at"):
            if at := max((at for each in dossier.consents if (at := getattr(each, name))), default=None):
                yield self._label(name), self._moment(at)
        for each in dossier.suppressions:
            since = self._fill(
                "labels", "since", at=self._moment(each.since), reason=self._words.reasons[each.reason.value]
            )
            yield self._label("suppressed"), since

    def _topic(self, topic: str) -> str:
        if topic == EVERY_TOPIC:
            return self._label("every_topic")
        return self._fill("labels", "topic", topic=self._local.quote(topic))

    def _judgement(self, judgement: Judgement) -> str:
        match judgement:
            case Holds(_, until):
                return (
                    self._fill("states", "holds", at=self._local.day(until))
                    if until
                    else self._words.states["unlimited"]
                )
            case Lapsed(_, at):
                return self._fill("states", "lapsed", at=self._local.day(at))
            case Revoked(_, at):
                return self._fill("states", "revoked", at=self._moment(at))
            case Incomplete(_, missing):
                return self._fill("states", "incomplete", missing=self._requirements(missing))
            case Unacceptable(consent):
                return self._fill("states", "unacceptable", basis=self._words.bases[consent.basis.value])
            case Absent() | OffTopic() | OtherGoods():
                return self._words.states["absent"]
            case _:
                assert_never(judgement)

    def _proof(self, proof: LedgerProof, account: Account) -> Iterator[tuple[str, str]]:
        said = dict(proof.said) if proof.said is not None else {}
        if proof.said is None:
            yield "", self._label("gone")
        if proof.kind is EntryKind.GIVEN and said:
            said["confirmation"] = self._label("double" if said.get("confirmed_at") else "single")
            confirmed_at = _TIME(said["confirmed_at"]) if said.get("confirmed_at") else None
            missing = self._assessor.missing(Basis(said["basis"]), evidence_of(said), confirmed_at, account.known_names)
            said["missing"] = self._requirements(missing)
        if proof.kind is EntryKind.REVOKED and said:
            said |= self._reason(str(said.get("reason", "")))
        if proof.kind is EntryKind.ERASED and said:
            said |= {"reason": "", "recorded": said.get("reason", "")}
        said |= {"at": self._moment(proof.at), "hash": proof.hash.hex()}
        for name in _ORDER:
            if (value := said.get(name)) not in (None, "", []):
                yield self._name(name), self._value(name, value)

    def _reason(self, recorded: str) -> dict[str, str]:
        """Return the reason in the language, and what was recorded with it, as it was recorded."""
        code, _, rest = recorded.partition(": ")
        if code in self._words.reasons:
            return {"reason": self._words.reasons[code], "recorded": rest}
        return {"reason": self._words.reasons["revoked"], "recorded": recorded}

    def _name(self, name: str) -> str:
        return self._label("topics" if name == "topic" else name)

    def _value(self, name: str, value: object) -> str:
        match value:
            case bool():
                return self._label("yes" if value else "no")
            case list() | tuple() if name == "topics":
                return list_topics(value, self._local)
            case list() | tuple():
                return ", ".join(str(each) for each in value)
            case str() if name == "basis":
                return self._words.bases[value]
            case str() if name in _TIMES:
                return self._moment(_TIME(value))
            case str() if name == "language":
                return self._local.language_name(value)
            case str() if name == "sign":
                return self._words.signs.get(value, value)
            case str() if name == "by":
                return self._words.actors.get(value, value)
            case str() if name == "topic":
                return list_topics([value], self._local)
            case str() if name in _QUOTED:
                return self._local.quote(value)
            case _:
                return str(value)

    def _requirements(self, missing: Iterable[str]) -> str:
        return self._local.join([self._words.requirements[name] for name in missing])

    def _moment(self, at: datetime) -> str:
        return self._local.moment(at, seconds=True)

    def _label(self, name: str) -> str:
        return self._words.labels[name]

    def _fill(self, table: str, name: str, **values: object) -> str:
        words: dict[str, str] = getattr(self._words, table)
        return words[name].format(**values)


def list_topics(topics: Iterable[str], local: LocalFormat) -> str:
    """Return the topics as they were recorded, in quotation marks."""
    every = load_texts()[local.language].dossier.labels["every_topic_listed"]
    return local.join([every if topic == EVERY_TOPIC else local.quote(topic) for topic in topics])


def as_json(dossier: Dossier) -> dict[str, Any]:
    """The same for machines; names as in the ledger, times in ISO 8601."""
    return {
        "address": dossier.address,
        "account": dossier.account.name,
        "identities": [asdict(identity) for identity in dossier.account.identities],
        "made_at": dossier.made_at.isoformat(),
        "consents": [
            {
                "topics": sorted(each.topics),
                "basis": each.basis.value,
                "entry": each.entry,
                "missing": list(each.missing),
                "state": type(judge(dossier.consents, min(each.topics), dossier.made_at, Terms())).__name__.lower(),
                **_times(each),
            }
            for each in dossier.consents
        ],
        "suppressions": [
            {"topic": each.topic, "reason": each.why, "rule": each.rule, "since": each.since.isoformat()}
            for each in dossier.suppressions
        ],
        "entries": [
            {
                "number": each.number,
                "at": each.at.isoformat(),
                "kind": each.kind.value,
                "hash": each.hash.hex(),
                "evidence": dict(each.said) if each.said is not None else None,
            }
            for each in dossier.proofs
        ],
    }


def dossier_of_case(fields: Mapping[str, Any], account: Account) -> Dossier:
    """Return the dossier that is kept with a case of ``account``, from what ``as_json`` has made of it. It was taken
    without suppressions."""
    return Dossier(
        fields["address"],
        account,
        _TIME(fields["made_at"]),
        tuple(
            LedgerProof(
                each["number"],
                _TIME(each["at"]),
                EntryKind(each["kind"]),
                bytes.fromhex(each["hash"]),
                each["evidence"],
            )
            for each in fields["entries"]
        ),
        tuple(
            Consent(
                Basis(each["basis"]),
                frozenset(each["topics"]),
                _TIME(each["given_at"]),
                _time_of(each, "confirmed_at"),
                each["entry"],
                tuple(each["missing"]),
                _time_of(each, "contacted_at"),
                _time_of(each, "revoked_at"),
                clicked_at=_time_of(each, "clicked_at"),
                bought_at=_time_of(each, "bought_at"),
            )
            for each in fields["consents"]
        ),
        (),
    )


def _times(consent: Consent) -> dict[str, str | None]:
    names = ("given_at", "confirmed_at", "revoked_at", "contacted_at", "clicked_at", "bought_at")
    return {name: at.isoformat() if (at := getattr(consent, name)) else None for name in names}


def _time_of(fields: Mapping[str, Any], name: str) -> datetime | None:
    return _TIME(fields[name]) if fields[name] else None


def _identity(identities: Iterable[Identity], language: str) -> Identity | None:
    """In that language; else the first there is."""
    known = list(identities)
    return next((each for each in known if each.language == language), known[0] if known else None)


def _section(block: Block) -> str:
    sentences = "".join(f"<p>{escape(fact)}</p>" for label, fact in block.facts if not label)
    rows = "".join(f"<dt>{escape(label)}</dt><dd>{escape(fact)}</dd>" for label, fact in block.facts if label)
    return f"<section><h2>{escape(block.title)}</h2>{sentences}<dl>{rows}</dl></section>\n"


_STYLE = (
    "body{font:16px/1.45 system-ui,sans-serif;max-width:52rem;margin:2rem auto;padding:0 1rem;color:#1b1b1b}"
    "h1{font-size:1.5rem}h2{font-size:1.1rem;border-bottom:1px solid #bbb;padding-bottom:.2rem}"
    "dl{display:grid;grid-template-columns:16rem 1fr;gap:.25rem 1rem;margin:0}dt{color:#555}"
    "dd{margin:0;white-space:pre-line;overflow-wrap:anywhere}p{margin:.4rem 0}"
    "section{break-inside:avoid}@media(max-width:40rem){dl{grid-template-columns:1fr}dd{margin-bottom:.4rem}}"
)

"""The ledger's chain: whole as it was written, and broken by every change, however small."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from policy.permission.ledger import (
    Checker,
    EntryKind,
    Head,
    LedgerEntry,
    LedgerFault,
    beginning,
    digest_of,
    seal,
)

START = datetime(2026, 1, 1, 12, 0, 0, 123456, tzinfo=UTC)
KINDS = [kind.value for kind in EntryKind]


def chain(contents: list[tuple[str, bytes, bytes]], account_id: int = 7) -> list[LedgerEntry]:
    """Entries of ``(kind, address key, evidence)``, properly sealed."""
    entries, before = [], beginning(account_id).hash
    for number, (kind, key, evidence) in enumerate(contents, 1):
        at, digest = START + timedelta(seconds=number), digest_of(evidence)
        before = seal(before, number, at, kind, key, digest)
        entries.append(LedgerEntry(number, at, kind, key, digest, before, evidence))
    return entries


def faults(entries: list[LedgerEntry], head: Head, account_id: int = 7) -> list[LedgerFault]:
    checker = Checker(account_id)
    return [*checker.follow(entries), *checker.finish(head)]


def head_of(entries: list[LedgerEntry]) -> Head:
    return Head(entries[-1].number, entries[-1].hash)


contents = st.lists(
    st.tuples(st.sampled_from(KINDS), st.binary(min_size=16, max_size=16), st.binary(min_size=1, max_size=60)),
    min_size=1,
    max_size=6,
)


@given(contents)
def test_what_was_written_holds(written: list[tuple[str, bytes, bytes]]) -> None:
    entries = chain(written)
    assert faults(entries, head_of(entries)) == []


@given(contents, st.data())
def test_every_single_bit_that_changes_is_found(written: list[tuple[str, bytes, bytes]], data: st.DataObject) -> None:
    entries = chain(written)
    head = head_of(entries)
    place = data.draw(st.integers(0, len(entries) - 1))
    entry = entries[place]
    field = data.draw(st.sampled_from(["number", "at", "kind", "address_key", "digest", "hash", "evidence", "head"]))
    match field:
        case "number":
            changed = replace(entry, number=entry.number ^ 1 << data.draw(st.integers(0, 62)))
        case "at":
            changed = replace(entry, at=entry.at + timedelta(microseconds=1 << data.draw(st.integers(0, 50))))
        case "kind":
            octets = flipped(entry.kind.encode(), data, bits=7)  # the eighth would not be text any more
            changed = replace(entry, kind=octets.decode())
        case "head":
            changed, head = entry, Head(head.number, flipped(head.hash, data))
        case _:
            changed = replace(entry, **{field: flipped(getattr(entry, field), data)})
    assert faults([*entries[:place], changed, *entries[place + 1 :]], head)


def test_every_bit_of_one_entry() -> None:
    entries = chain([("given", bytes(range(16)), b"evidence"), ("revoked", bytes(range(16)), b"more")])
    head = head_of(entries)
    for place, entry in enumerate(entries):
        for name in ("address_key", "digest", "hash", "evidence"):
            value: bytes = getattr(entry, name)
            for bit in range(8 * len(value)):
                octets = (int.from_bytes(value, "big") ^ 1 << bit).to_bytes(len(value), "big")
                changed = [*entries]
                changed[place] = replace(entry, **{name: octets})
                assert faults(changed, head), (place, name, bit)


def flipped(octets: bytes, data: st.DataObject, bits: int = 8) -> bytes:
    place, bit = data.draw(st.integers(0, len(octets) - 1)), data.draw(st.integers(0, bits - 1))
    return octets[:place] + bytes([octets[place] ^ 1 << bit]) + octets[place + 1 :]


@given(contents.filter(lambda written: len(written) > 1), st.data())
def test_an_entry_that_is_taken_out_or_swapped_is_found(
    written: list[tuple[str, bytes, bytes]], data: st.DataObject
) -> None:
    entries = chain(written)
    place = data.draw(st.integers(0, len(entries) - 2))
    assert faults(entries[:place] + entries[place + 1 :], head_of(entries))
    swapped = [*entries]
    swapped[place], swapped[place + 1] = swapped[place + 1], swapped[place]
    assert faults(swapped, head_of(entries))


def test_a_ledger_that_was_cut_off_at_its_end_is_found() -> None:
    entries = chain([("given", bytes(16), b"1"), ("revoked", bytes(16), b"2")])
    (fault,) = faults(entries[:1], head_of(entries))
    assert "ends with entry 1" in fault.text


def test_entries_of_another_account_do_not_hold() -> None:
    entries = chain([("given", bytes(16), b"1")], account_id=8)
    assert [fault.number for fault in faults(entries, head_of(entries), account_id=7)] == [1]


def test_erased_evidence_needs_an_entry_that_says_so() -> None:
    key = bytes(range(16))
    entries = chain([("given", key, b"1"), ("given", bytes(16), b"2"), ("erased", key, b"on request")])
    gone = replace(entries[0], evidence=None)
    assert faults([gone, *entries[1:]], head_of(entries)) == []
    (fault,) = faults([entries[0], replace(entries[1], evidence=None), entries[2]], head_of(entries))
    assert (fault.number, "no later entry" in fault.text) == (2, True)


def test_every_fault_is_told_not_only_the_first() -> None:
    entries = chain([("given", bytes(16), bytes([n])) for n in range(5)])
    entries[1] = replace(entries[1], evidence=b"x")
    entries[3] = replace(entries[3], digest=bytes(32))
    assert [fault.number for fault in faults(entries, head_of(entries))] == [2, 4, 4]


def test_a_ledger_written_anew_is_found_by_a_head_that_was_noted() -> None:
    noted = head_of(chain([("given", bytes(16), b"1")]))
    anew = chain([("given", bytes(16), b"changed"), ("given", bytes(16), b"2")])
    assert faults(anew, head_of(anew)) == []
    checker = Checker(7, noted)
    (fault,) = [*checker.follow(anew), *checker.finish(head_of(anew))]
    assert fault.number == 1
    checker = Checker(7, Head(3, bytes(32)))
    (fault,) = [*checker.follow(anew), *checker.finish(head_of(anew))]
    assert "ends with entry 2" in fault.text

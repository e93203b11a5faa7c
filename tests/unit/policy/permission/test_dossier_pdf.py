"""The dossier as PDF: what is read back is what the page says, the same octets each time, over several pages."""

from __future__ import annotations

import io
from datetime import UTC, datetime

import pytest
from pypdf import PdfReader

from policy.permission import dossier_pdf
from policy.permission.dossier import Block, DossierTooLong

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
ODD = "Kość, Ελλάδα, œuvre, ¿Señor?, „so“, 中 " + "x" * 300
BLOCKS = [
    Block("Einwilligung – Straße", (("", "Ein Satz ohne Überschrift."), ("Wortlaut", ODD), ("Leer", "a\n\nb"))),
    *(Block(f"Eintrag {n}", (("Nachweis", f"Zeile {n} " * 40),)) for n in range(20)),
]


def pdf(blocks: list[Block] | None = None) -> bytes:
    return dossier_pdf.write_pdf(
        BLOCKS if blocks is None else blocks,
        title="Nachweis der Einwilligung",
        language="de",
        page="Seite {page} von {pages}",
        issuer="Beispiel Post GmbH",
        at=NOW,
    )


def squeezed(text: str) -> str:
    """Without what the breaking of lines changes."""
    return "".join(text.split())


def test_all_of_it_is_read_back_on_numbered_pages() -> None:
    reader = PdfReader(io.BytesIO(pdf()))
    pages = [page.extract_text() for page in reader.pages]
    assert len(pages) > 1
    for number, page in enumerate(pages, 1):
        assert f"Seite {number} von {len(pages)}" in page
        assert "Beispiel Post GmbH" in page
    text = squeezed("".join(pages))
    for block in BLOCKS:
        assert squeezed(block.title) in text
    assert squeezed(ODD.replace("中", "[U+4E2D]"))[:200] in text
    assert text.count("x" * 50) >= 3
    assert text.count("Zeile") == 20 * 40


def test_it_says_its_language_title_and_headings() -> None:
    reader = PdfReader(io.BytesIO(pdf()))
    assert reader.trailer["/Root"]["/Lang"] == "de"
    assert reader.metadata is not None
    assert (reader.metadata.title, reader.metadata.author) == ("Nachweis der Einwilligung", "Beispiel Post GmbH")
    assert len(reader.outline) == len(BLOCKS)


def test_the_same_facts_are_the_same_octets() -> None:
    assert pdf() == pdf()


def test_its_length_has_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dossier_pdf, "MAX_PAGES", 2)
    with pytest.raises(DossierTooLong):
        pdf()

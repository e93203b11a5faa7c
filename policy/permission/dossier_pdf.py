"""The dossier as PDF: the same facts as the page, on numbered A4 sheets.

Invariants: the same facts give the same octets, so that a hash of the file proves it. Nothing recorded is left out: a
character that the font does not have is written as its code, ``[U+4E2D]``.

Limitations: the file has bookmarks and a language, but no tags (PDF/UA), which fpdf2 cannot write; the page is the form
for screen readers.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from itertools import zip_longest

from fpdf import FPDF
from fpdf.enums import MethodReturnValue, XPos, YPos
from fpdf.fonts import TTFFont

from config.toml import FONTS
from policy.permission.dossier import Block, DossierTooLong

MAX_PAGES = 500
FONT = "DejaVu"
MARGIN, LABEL, VALUE = 20.0, 55.0, 115.0  # millimetres of an A4 sheet
LINE = 5.0
GREY, BLACK = 90, 0


class _Sheets(FPDF):
    """``page_label``: "Page {page} of {pages}". ``issuer``: who has made the dossier."""

    def __init__(self, page_label: str, issuer: str) -> None:
        super().__init__(format="A4")
        self._page_label, self._issuer = page_label, issuer
        self.set_margin(MARGIN)
        self.c_margin = 0.0
        self.set_auto_page_break(True, MARGIN)
        self.add_font(FONT, "", FONTS / "DejaVuSans.ttf")
        self.add_font(FONT, "B", FONTS / "DejaVuSans-Bold.ttf")
        font = self.fonts[FONT.lower()]
        assert isinstance(font, TTFFont)
        self._known = font.cmap.keys()

    def footer(self) -> None:
        """Write the issuer and the number of the page below each page."""
        self.set_y(-MARGIN + LINE)
        self.set_font(FONT, size=8)
        self.set_text_color(GREY)
        self.cell(LABEL + VALUE, LINE, self.readable(self._issuer))
        self.set_x(MARGIN)
        numbers = self._page_label.format(page=self.page_no(), pages=self.str_alias_nb_pages)
        self.cell(LABEL + VALUE, LINE, numbers, align="R")

    def readable(self, text: str) -> str:
        """Return ``text`` with the codes of characters that the font does not have."""
        return "".join(char if char == "\n" or ord(char) in self._known else f"[U+{ord(char):04X}]" for char in text)

    def room(self, lines: int) -> None:
        """Begin a page if fewer than so many lines are left. Raises DossierTooLong."""
        if self.will_page_break(lines * LINE):
            if self.page_no() == MAX_PAGES:
                raise DossierTooLong(f"the dossier has more than {MAX_PAGES} pages")
            self.add_page()

    def lines(self, width: float, text: str) -> list[str]:
        """Return ``text`` as lines of ``width`` in the present font."""
        found = self.multi_cell(width, LINE, text, dry_run=True, output=MethodReturnValue.LINES, align="L")
        assert isinstance(found, list)
        return found


def write_pdf(blocks: Iterable[Block], *, title: str, language: str, page: str, issuer: str, at: datetime) -> bytes:
    """Return the PDF. ``page``: the label of a page's number; ``at``: when the dossier was made. Raises
    DossierTooLong."""
    sheets = _Sheets(page, issuer)
    sheets.set_lang(language)
    sheets.set_title(title)
    sheets.set_author(issuer)
    sheets.set_producer("Imprimatur")
    sheets.set_creation_date(at)
    sheets.add_page()
    sheets.set_font(FONT, "B", 16)
    sheets.multi_cell(LABEL + VALUE, 8, title, new_x=XPos.LMARGIN, new_y=YPos.NEXT)
    for block in blocks:
        _write_heading(sheets, block.title)
        for label, fact in block.facts:
            if label:
                _write_fact(sheets, label, fact)
            else:
                _write_sentence(sheets, fact)
    return bytes(sheets.output())


def _write_heading(sheets: _Sheets, title: str) -> None:
    """Write a heading that does not stand alone at the foot of a page, and its bookmark."""
    sheets.room(5)
    sheets.ln(LINE)
    sheets.set_text_color(BLACK)
    sheets.set_font(FONT, "B", 11)
    shown = sheets.readable(title)
    sheets.start_section(shown)
    sheets.multi_cell(LABEL + VALUE, LINE + 1, shown, new_x=XPos.LMARGIN, new_y=YPos.NEXT, align="L")
    sheets.set_draw_color(190)
    sheets.line(MARGIN, sheets.get_y(), MARGIN + LABEL + VALUE, sheets.get_y())
    sheets.ln(1)


def _write_fact(sheets: _Sheets, label: str, fact: str) -> None:
    """Write a label and beside it the fact, over as many pages as it takes."""
    sheets.set_font(FONT, size=9)
    for head, piece in zip_longest(
        sheets.lines(LABEL - 3, sheets.readable(label)), sheets.lines(VALUE, sheets.readable(fact)), fillvalue=""
    ):
        sheets.room(1)
        sheets.set_text_color(GREY)
        sheets.cell(LABEL, LINE, head)
        sheets.set_text_color(BLACK)
        sheets.cell(VALUE, LINE, piece, new_x=XPos.LMARGIN, new_y=YPos.NEXT)


def _write_sentence(sheets: _Sheets, sentence: str) -> None:
    sheets.set_font(FONT, size=9)
    sheets.set_text_color(BLACK)
    for line in sheets.lines(LABEL + VALUE, sheets.readable(sentence)):
        sheets.room(1)
        sheets.cell(LABEL + VALUE, LINE, line, new_x=XPos.LMARGIN, new_y=YPos.NEXT)

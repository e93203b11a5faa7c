"""How a language writes dates, times, zones, numbers, countries, languages and lists (CLDR, by Babel).

Limitations: the variety is the language's own country: British English, Dutch of the Netherlands.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, tzinfo

from babel import Locale
from babel.dates import format_date, format_time, get_timezone_name
from babel.lists import format_list
from babel.numbers import format_decimal, format_percent

from policy.languages import TextLanguage, load_texts

_LOCALES = {TextLanguage.EN: "en_GB"}  # of the others, that of their name


class LocalFormat:
    """Writes in ``language``; times in ``zone``."""

    def __init__(self, language: TextLanguage, zone: tzinfo) -> None:
        self.language = language
        self._locale = Locale.parse(_LOCALES.get(language, language.value))
        self._zone = zone
        self._formats = load_texts()[language].formats

    def moment(self, at: datetime, *, seconds: bool = False) -> str:
        """Return date, time and zone: "1 July 2026, 14:30 (Central European Summer Time)"."""
        here = at.astimezone(self._zone)
        time = format_time(here, "HH:mm:ss" if seconds else "HH:mm", locale=self._locale)
        return self._formats.moment.format(date=self._date(here), time=time, zone=self._zone_name(here))

    def day(self, at: datetime) -> str:
        """Return the date: "1 July 2026"."""
        return self._date(at.astimezone(self._zone))

    def join(self, parts: Sequence[str]) -> str:
        """Return the parts as a list in a sentence: "a, b and c"."""
        return format_list(list(parts), locale=self._locale)

    def quote(self, text: str) -> str:
        """Return what others have written, in quotation marks."""
        return self._formats.quote.format(text=text)

    def number(self, count: int) -> str:
        """Return a count: "12,500"."""
        return format_decimal(count, locale=self._locale)

    def share(self, share: float) -> str:
        """Return a share of one: "0.25%"."""
        return format_percent(round(share, 4), locale=self._locale, decimal_quantization=False)

    def country(self, code: str) -> str:
        """Return the name of a country by its ISO 3166 code; what is no code as it is."""
        return str(self._locale.territories.get(code.upper(), code))

    def language_name(self, code: str) -> str:
        """Return the name of a language by its code; what is no code as it is."""
        return str(self._locale.languages.get(code.lower().partition("-")[0], code))

    def _date(self, here: datetime) -> str:
        date = format_date(here, "long", locale=self._locale)
        return date.replace("1 ", f"{self._formats.first_day} ", 1) if here.day == 1 else date

    def _zone_name(self, here: datetime) -> str:
        if here.tzinfo is UTC or here.tzname() == "UTC":
            return "UTC"
        return get_timezone_name(here, "long", locale=self._locale)

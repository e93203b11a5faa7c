"""Whether words speak of a subscription to something else than mail: "Broodabonnement", "your coffee subscription".

What is subscribed to is told by the other part of the compound, the word before "subscription", or the one behind
"abonnement": unless it is a word for mail, a small word or a name (a capital letter that "subscription" has not), it is
something else.

Limitations: behind the word it is only looked for in the words of a link, which are few; in a sentence anything may
follow there. A name in capitals like all words beside it ("Cancel Your Riverside Subscription") is taken for a thing.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from config.types import Section

_SIGNS = "\"'’.,:;!?()[]«»„“”›‹→-–"
_JOINED = re.compile(r"[-\u2010]")
_ELIDED = re.compile(r"\A[dlmnst]['’]")
SHORTEST = 3  # letters of the first part of a compound


class SubscriptionWords(Section):
    """The words of one language. ``heads``: for a subscription. ``place``: where it says what it is to. ``small``:
    words beside it that do not tell. ``led_by``: those before it that tell the language."""

    heads: list[str]
    place: Literal["joined", "before", "behind"]
    small: list[str]
    led_by: list[str] = Field([])


class OtherSubscriptions:
    """The words of one language, compiled. ``mail``: what mail is called."""

    __slots__ = ("_heads", "_led_by", "_mail", "_place", "_small")

    def __init__(self, words: SubscriptionWords, mail: re.Pattern[str]) -> None:
        self._heads = tuple(sorted(words.heads, key=len, reverse=True))
        self._place, self._small, self._mail = words.place, frozenset(words.small), mail
        self._led_by = frozenset(words.led_by)

    def are_named(self, said: Sequence[str], written: Sequence[str], *, is_link: bool) -> bool:
        """Return whether one is named in ``said``, words made plain, which were ``written`` like this. ``is_link``:
        they are the words of a link."""
        for n, word in enumerate(said):
            head = next((head for head in self._heads if head in word), "")
            if not head:
                continue
            match self._place:
                case "joined":
                    if self._is_compound(word.strip(_SIGNS), head):
                        return True
                case "before":
                    if word.startswith(head) and n and self._is_thing(said[n - 1], written, n - 1, n):
                        return True
                case "behind":
                    if is_link and self._is_led(said, n, head) and self._is_followed(said, written, n):
                        return True
        return False

    def _is_compound(self, word: str, head: str) -> bool:
        first = _JOINED.sub("", word[: word.index(head)])
        return len(first) >= SHORTEST and first not in self._small and not self._mail.search(word)

    def _is_led(self, said: Sequence[str], at: int, head: str) -> bool:
        word = _ELIDED.sub("", said[at])
        return word.startswith(head) and (word != said[at] or (at > 0 and said[at - 1] in self._led_by))

    def _is_followed(self, said: Sequence[str], written: Sequence[str], at: int) -> bool:
        behind = (n for n in range(at + 1, len(said)) if said[n].strip(_SIGNS) not in self._small)
        first = next(behind, None)
        return first is not None and self._is_thing(said[first], written, first, at)

    def _is_thing(self, word: str, written: Sequence[str], at: int, head: int) -> bool:
        word = word.strip(_SIGNS)
        if not word.isalpha() or word in self._small or self._mail.search(word):
            return False
        is_name = at < len(written) and written[at][:1].isupper() and not written[head][:1].isupper()
        return not is_name

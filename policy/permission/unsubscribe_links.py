"""How a message lets its reader unsubscribe: its ``List-Unsubscribe`` fields, and the links in its text.

A link is read by what it says: its words, the text of its picture, or, if those have no meaning of their own ("here"),
the sentence that it stands in. Obstacles are looked for there, in the sentences behind it, and in all that speak of
unsubscribing, wherever they stand.

Invariants: a link that asks for a login or a survey first does not count, nor does one that nobody can open, one that
leads to the privacy policy, or half a header.

Limitations: no link is followed; its text and address are all that is judged. Five languages are known.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import Enum
from ipaddress import ip_address
from itertools import islice
from urllib.parse import urlsplit

from mta.mail.headers import Headers, unfold
from policy.html.document import Link
from policy.text.message_text import View
from policy.text.obstacle_grammar import AT_ONCE, Nearness, Obstacle, ObstacleGrammar, obstacle_in_url
from policy.text.sentences import sentences_of
from policy.text.text_match import fold
from policy.text.unsubscribe_grammar import LONGEST, UnsubscribeGrammar, plain

ONE_CLICK = "List-Unsubscribe=One-Click"  # RFC 8058 3.1
MAX_URIS = 10
MAX_CANDIDATES = 50  # links that are read
LAST = 10  # links at the end that may have their meaning from their sentence
BEHIND = 5  # sentences behind the link's own that may tell of an obstacle
BESIDE = 4  # pieces of its paragraph behind the link
TELLING = 4  # words of a sentence that counts as one of these
MAX_SPOTS = 100  # places of a text that are looked at for obstacles
BEFORE_SPOT, BEHIND_SPOT = 200, 700  # characters about one of them
POINTING = 2  # words of a clause that only points at its sentence: "see here"
ELLIPTIC = 3  # words of a question that goes on with the sentence before it: "Not you?"

_URI = re.compile(r"<([^<>]{1,2000})>")
_URI_CHARACTERS = re.compile(r"(?:[A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=-]|%[0-9A-Fa-f]{2})+")  # RFC 3986 2
_PLACEHOLDER = re.compile(  # of Liquid, Handlebars, Mailchimp, Marketo, Salesforce, Velocity, PHP, ...
    r"\{\{|\}\}|\{%|\$\{|\*\||\|\*|\[\[|\]\]|%%|<%|%\(|#\{|\{[A-Za-z_][\w. -]{0,60}\}|%[A-Za-z_]{3,60}%"
    r"|\[[A-Za-z_]{2,60}\]|\$[A-Z_]{3,60}\b|%7B%7B"
)
_ADDRESS = re.compile(r"[^\s@?]{1,64}(?:@|%40)[^\s@?]{1,255}\.[^\s@?.]{2,}", re.IGNORECASE)
_PRIVATE_DOMAINS = frozenset({"localhost", "local", "internal", "lan", "home", "corp", "localdomain", "invalid"})
_FRONT_PAGE = re.compile(r"https://[^/?#]*/?(?:#.*)?", re.IGNORECASE)
_ENDS = re.compile(r"[.!](?=\s|\Z)|[|•·–—]|\n")  # a question leads to what follows it
_CLAUSES = re.compile(r"[,;:?]|\b(?:of|en|oder|und|ou|et|o|u|y|or|and)\b")  # made plain
_LED_BY = re.compile(r"([^\W\d_]+)\s*:\s*\Z")  # "no need to solve one to leave: https://..."
_FULL_STOP = re.compile(r"[.!](?=\s)")
_ENDS_CLAUSE = re.compile(r"[.!;](?=\s|\Z)|[|•·]|\n")
_NEXT_LINK = re.compile(r"\||\b(?:https?://|mailto:|www\.)")
_OF_SENDER = re.compile(r"\d{4}|@|\d[ -]\d\d")  # a line of the legal notice
_ENDS_BEHIND = re.compile(r"[.!](?=\s|\Z)|[|•·]|\n")  # a dash goes on with it


@dataclass(frozen=True, slots=True)
class Offer:
    """The URIs of List-Unsubscribe by kind, and why the one click of RFC 8058 does not work with them ("": it does)."""

    https: tuple[str, ...] = ()
    mailto: tuple[str, ...] = ()
    fault: str = ""


def offer_of(headers: Headers) -> Offer | None:
    """What the header offers; None if it has no List-Unsubscribe. RFC 2369 3.2, RFC 8058 3.1."""
    values = [unfold(value) for value in headers.all(b"list-unsubscribe")]
    if not values:
        return None
    uris = [uri.strip() for uri in _URI.findall(values[0])[:MAX_URIS]]
    https = tuple(uri for uri in uris if uri[:8].lower() == "https://" and not _uri_fault(uri))
    mailto = tuple(uri for uri in uris if uri[:7].lower() == "mailto:" and "@" in uri and not _uri_fault(uri))
    posts = [unfold(value) for value in headers.all(b"list-unsubscribe-post")]
    return Offer(https, mailto, _offer_fault(values, uris, https, posts))


def _offer_fault(values: Sequence[str], uris: Sequence[str], https: Sequence[str], posts: Sequence[str]) -> str:
    if len(values) > 1:
        return "there are several List-Unsubscribe fields"
    if "=?" in values[0] and not uris:
        return "List-Unsubscribe holds encoded words, which are not allowed there (RFC 2047 5)"
    if fault := next(filter(None, map(_uri_fault, uris)), ""):
        return fault
    if len(https) != 1:
        return f"List-Unsubscribe holds {len(https)} https links in angle brackets; one click needs exactly one"
    if posts != [ONE_CLICK]:
        return f"`List-Unsubscribe-Post: {ONE_CLICK}` is missing"
    return ""


def _uri_fault(uri: str) -> str:
    """Why ``uri`` cannot be used as it is written, or ""; a scheme that is not known does not matter (RFC 3986 2)."""
    named = uri[:60]
    if _PLACEHOLDER.search(uri):
        return f'"{named}" is a template that was not filled in'
    if any(map(str.isspace, uri)):
        return f'there is white space inside "{named}": the link was cut by a line break'
    if not _URI_CHARACTERS.fullmatch(uri):
        return f'"{named}" holds characters that no URI may hold'
    if uri[:8].lower() == "https://" and not _names_a_host(uri):
        return f'"{named}" names no host'
    return ""


def _names_a_host(uri: str) -> bool:
    try:
        host = urlsplit(uri).hostname or ""
    except ValueError:
        return False
    return "." in host


class UnsubscribeOffer(Enum):
    """What the text of a message offers."""

    OPEN = "a way out"
    BARRED = "a way out with an obstacle before it"
    NONE = "no way out"


@dataclass(frozen=True, slots=True)
class Found:
    """The best way out of a text, and the link that it is. ``fault``: why the link cannot be used."""

    offer: UnsubscribeOffer
    url: str = ""
    fault: str = ""
    obstacle: Obstacle | None = None


NOTHING = Found(UnsubscribeOffer.NONE)


class UnsubscribeLinks:
    """Finds the way out among the links of a text."""

    __slots__ = ("_grammar", "_obstacles", "_ours", "_patience")

    def __init__(self, grammar: UnsubscribeGrammar, ours: str | None = None, patience: int = AT_ONCE) -> None:
        """``ours``: how our own links begin. ``patience``: the days that unsubscribing may take."""
        self._grammar, self._ours, self._patience = grammar, ours, patience
        self._obstacles = ObstacleGrammar.shipped()

    def find(self, view: View, announced: Collection[str] = ()) -> Found:
        """Return the best way out. Begins at the end, where it is in most mail. ``announced``: the addresses that the
        header names for it."""
        best = NOTHING
        for at, link in enumerate(islice(reversed(view.links), MAX_CANDIDATES)):
            if self._ours and link.url.startswith(self._ours):
                return Found(UnsubscribeOffer.OPEN, link.url)
            said = self._said_by(link, link.url in announced, last=at < LAST)
            if said is None:
                continue
            if fault := unusable(link.url) or self._misled(link):
                best = best if best.url else Found(UnsubscribeOffer.NONE, link.url, fault)
            elif obstacle := self._obstacle(view, link, said):
                best = Found(UnsubscribeOffer.BARRED, link.url, obstacle=obstacle)
            else:
                return Found(UnsubscribeOffer.OPEN, link.url)
        return best

    def _misled(self, link: Link) -> str:
        """Return why a link leads nowhere, whatever it says, or ""."""
        if link.is_blank:
            return "nothing of it shows"
        if page := self._grammar.other_page(link.url):
            return f"it leads to another page ({page[:60]})"
        if _is_front_page(link.url) and not self._grammar.is_meant(plain(link.url)):
            return "it leads to the front page"
        return ""

    def _obstacle(self, view: View, link: Link, said: str) -> Obstacle | None:
        """Return the obstacle that the link's own sentence tells of, its address, or what else the text says of
        unsubscribing."""
        if own := self._obstacles.told(said, Nearness.OWN, self._patience) or obstacle_in_url(link.url):
            return own
        told = self._told_about(view, link) if self._may_be_barred(view, link) else None
        return told or self._told_behind(link, said)

    def _told_about(self, view: View, link: Link) -> Obstacle | None:
        """Return the obstacle that the sentences behind a link tell of, or those that speak of unsubscribing."""
        told, sentences = self._obstacles.told, sentences_of(view, link)
        behind = 0 if sentences.at >= 0 else BEHIND
        for n, sentence in enumerate(sentences.all):
            if any(map(self._grammar.offers, sentence.links)):
                continue  # it tells of another link
            said = self._of_mail(sentence.said)
            about = self._speaks_of_it(said)
            near = n > sentences.at and behind < BEHIND
            behind += near and len(said.split()) >= TELLING
            if about or near:
                beside = Nearness.LISTED if sentence.is_listed else Nearness.NEAR
                if obstacle := told(said, Nearness.ABOUT if about else beside, self._patience):
                    return obstacle
        return None

    def _told_behind(self, link: Link, said: str) -> Obstacle | None:
        """Return the obstacle that a link's paragraph tells of behind it, where little is said that is harmless."""
        nearness = Nearness.REST
        behind = _NEXT_LINK.split(link.around[1][:BEHIND_SPOT])[0]
        for piece in islice(_ENDS_CLAUSE.split(behind), BESIDE):
            sentence = plain(piece)
            if nearness is Nearness.REST or not (_OF_SENDER.search(sentence) or self._grammar.ends_another(sentence)):
                besides = self._grammar.besides(sentence)
                if found := self._obstacles.likened(besides, nearness, self._patience, said):
                    return found
            nearness = Nearness.NEXT
        return None

    def _of_mail(self, sentence: str) -> str:
        """Return a sentence without what it says of ending something else: "memberships end by letter; this mail"."""
        parts, grammar = sentence.split(";"), self._grammar
        is_of_mail, kept = True, []
        for part in parts if len(parts) > 1 else ():
            is_of_mail = not (grammar.ends_a_role(part) or grammar.is_of_others(part)) and (
                is_of_mail or grammar.names_mail(part)
            )
            kept += [part] * is_of_mail
        return ";".join(kept) if len(parts) > 1 else sentence

    def _speaks_of_it(self, sentence: str) -> bool:
        grammar = self._grammar
        return grammar.may_offer(sentence) and grammar.offers(sentence) and not grammar.is_of_others(sentence)

    def _may_be_barred(self, view: View, link: Link) -> bool:
        """Return whether anything near the link, or near what speaks of unsubscribing, may be an obstacle; quick."""
        text = fold(view.text).replace("\n", " ")
        own = plain(link.words) or plain(link.url)
        spots = {*islice(self._grammar.spots(text), MAX_SPOTS), max(text.rfind(own), 0)}
        end = 0
        for spot in sorted(spots):
            start, end = max(end, spot - BEFORE_SPOT), spot + BEHIND_SPOT
            if self._obstacles.may_tell(" ".join(text[start:end].split())):
                return True
        return False

    def _said_by(self, link: Link, is_announced: bool, *, last: bool) -> str | None:
        """Return what is said of the link, if that is that it unsubscribes: its words with their sentence. ``last``: it
        is among the last links."""
        grammar = self._grammar
        words = plain(link.words) if link.words.strip() not in link.url else ""
        if self._is_of_others(link, words):
            return None
        if grammar.only_lessens(words):
            return None
        if grammar.says(words) or grammar.says_alone(words):
            return sentence_of(link, words, is_told=True)
        if grammar.is_meant(plain(link.url)) and not grammar.names_page(words):
            return sentence_of(link, words)
        elsewhere = not grammar.says_nothing(words) and (not last or grammar.leads_elsewhere(words))
        if elsewhere or _is_front_page(link.url):
            return None
        sentence = sentence_of(link, words)
        if is_announced:
            return sentence
        if grammar.says_nothing(words) and (self._turns_away(link, words) or grammar.only_lessens(sentence)):
            return None
        if grammar.says(sentence):
            return sentence
        longer = sentence_of(link, words, elliptic=ELLIPTIC)
        if longer != sentence and grammar.says(longer):
            return longer
        led = _LED_BY.search(link.around[0])
        if led and grammar.says_nothing(words) and grammar.says_alone(plain(led[1])):
            return sentence
        return self._told_before(link, words, sentence)

    def _told_before(self, link: Link, words: str, sentence: str) -> str | None:
        """Return the sentence of a bare link with the one before it, if that offers it and its own tells of nothing
        else: "You can stop these mails at any time. That costs nothing: here"."""
        grammar = self._grammar
        if not grammar.says_nothing(words) or not grammar.refers(sentence) or grammar.is_for_looking(sentence):
            return None
        before = _before(link)
        if not before or not grammar.says(before) or grammar.only_lessens(before):
            return None
        return f"{before}. {sentence}"

    def _turns_away(self, link: Link, words: str) -> bool:
        """Return whether the clause that a link stands in is about something else than its sentence: "or read more
        here"."""
        clause = clause_of(link, words)
        if len(clause.split()) <= POINTING:
            return False
        return self._grammar.is_for_looking(clause) and not self._grammar.says(clause)

    def _is_of_others(self, link: Link, words: str) -> bool:
        """Return whether a link ends something other than mail, by its words or those of its sentence."""
        grammar = self._grammar
        if grammar.says_nothing(words):
            sentence = sentence_of(link, words)
            of_others = grammar.is_of_other_channel(sentence) and not grammar.offers(sentence)
            return of_others or grammar.ends_a_role(sentence)
        if grammar.is_of_other_channel(words):
            return True
        return grammar.is_of_others(words, link.words) and not grammar.names_mail(sentence_of(link, words))


def _is_front_page(url: str) -> bool:
    """Return whether ``url`` leads to a site as a whole."""
    return _FRONT_PAGE.fullmatch(url) is not None


def unusable(url: str) -> str:
    """Return why a reader cannot unsubscribe at ``url``, or ""."""
    if _PLACEHOLDER.search(url):
        return "its template was not filled in"
    if url[:7].lower() == "mailto:":
        return "" if _ADDRESS.match(url[7:]) else "it has no mail address"
    try:
        parts = urlsplit(url)
        host = (parts.hostname or "").rstrip(".")
    except ValueError:
        return "it is no address"
    if parts.scheme.lower() != "https":
        return "it is not https" if parts.scheme.lower() == "http" else "it is no address that a reader could open"
    if _is_private(host):
        return f"{host or 'it'} is not reached from outside"
    return ""


def _is_private(host: str) -> bool:
    try:
        return not ip_address(host).is_global
    except ValueError:
        name = host.rpartition(".")[2].lower()
        return "." not in host or name.isdigit() or name.startswith("0x") or name in _PRIVATE_DOMAINS


def sentence_of(link: Link, words: str, elliptic: int = 0, *, is_told: bool = False) -> str:
    """Return the sentence that a link stands in, made plain. Other links beside it end it. What stands above an empty
    line, or before a question of at most ``elliptic`` words, belongs to it, unless the words tell enough (``is_told``).
    """
    before, behind = link.around
    pieces = _ENDS.split(before[-LONGEST:])
    start = pieces.pop()
    while not is_told and pieces and _goes_on(start.strip(" :»><\t\n"), elliptic, is_below="\n" in before):
        start = f"{pieces.pop()} {start}"
    return plain(f"{start} {words} {_ENDS_BEHIND.split(behind[:LONGEST])[0]}")


def _before(link: Link) -> str:
    """Return the sentence before that of a link, made plain; "" if another link or paragraph is between them."""
    before = link.around[0][-LONGEST:]
    pieces = _FULL_STOP.split(before)
    return "" if len(pieces) < 2 or "|" in pieces[-1] else plain(re.split(r"[|\n]", pieces[-2])[-1])


def clause_of(link: Link, words: str) -> str:
    """Return the clause that a link stands in, made plain: its sentence without what is said before it. What stands
    behind the link belongs to it as well ("here you can change or cancel it")."""
    before, behind = link.around
    start = plain(_ENDS.split(before[-LONGEST:])[-1])
    return f"{_CLAUSES.split(start)[-1]} {words} {plain(_ENDS_CLAUSE.split(behind[:LONGEST])[0])}"


def _goes_on(start: str, elliptic: int, *, is_below: bool) -> bool:
    """Return whether a sentence that begins like this goes on with the one before it. ``is_below``: a line above it."""
    return is_below if not start else start.endswith("?") and len(start.split()) <= elliptic

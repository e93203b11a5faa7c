"""Which places of a confirmed text may vary: found in the text itself, or by comparing it with another copy.

Found in one text: the recipient's own address and name, as the To field has them, and what looks like a token in a
link.
In HTML a place counts only where a parser finds it: the place is replaced by a word of its own, and looked for in the
page: in its text, in the link of an ``a``, in the address of a picture of a few pixels, or in the link of a conditional
comment.

Invariants: nothing is variable in a host name, a style, an attribute other than those links, or the address of a
picture that people see. What a sample does not show is not guessed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher
from urllib.parse import quote

from selectolax.lexbor import LexborHTMLParser, LexborNode

from policy.html.document import check_tags
from policy.mailing.variables import TOKEN, Reader, Variable, VariableKind, is_token, kind_of, said
from policy.reading_budget import ReadingBudget, TooIntricate

MAX_WORDS = 30  # places in one text that say something
MAX_TOKENS = 2000
OFTEN = 10  # a name that a text has more often is a word of it
LONGEST_DIFFERENCE = 4000  # words of a part of the text that are compared with a sample's
PIXEL = 3  # pixels: a larger picture is one that people see

_LINK = re.compile(r"https?://[^\s\"'<>\\^`{|}]{1,4000}", re.IGNORECASE)
_AUTHORITY = re.compile(r"https?://[^/?#]*[/?#]", re.IGNORECASE)
_SEGMENT = re.compile(r"<[^>]*>|[^<]+|<")
_LETTERS = r"(?:\w|&#?\w{1,20};)+"
_WORD = re.compile(rf"\s+|{_LETTERS}(?:[-.,:/'’]{_LETTERS})*|.", re.DOTALL)
_JOINED = re.compile(r"[\w@/:=%-]|\.(?=\w)")  # what makes one word of two, or a link
_COMMENT_LINK = re.compile(r"href\s*=\s*[\"'][^\"']*\Z", re.IGNORECASE)
_RAW_TEXT = frozenset({"script", "style", "xmp", "iframe", "noembed", "noframes", "plaintext", "template", "noscript"})
_IN_TEXT = frozenset(VariableKind)
_IN_LINK = frozenset({VariableKind.TOKEN, VariableKind.ADDRESS})


class NotASample(ValueError):
    """Why a message is not another copy of a reference."""


def infer(text: str, reader: Reader, *, is_page: bool, learned: Sequence[Variable] = ()) -> tuple[Variable, ...]:
    """Return what may vary in a text to ``reader``, with what was ``learned`` from samples."""
    found = [*learned, *_addresses(text, reader), *_tokens(text), *_names(text, reader)]
    chosen = _apart(found)
    if is_page:
        chosen = _proved(text, chosen)
    words = [each for each in chosen if each.kind is not VariableKind.TOKEN][:MAX_WORDS]
    tokens = [each for each in chosen if each.kind is VariableKind.TOKEN][:MAX_TOKENS]
    return tuple(sorted([*words, *tokens], key=lambda each: each.start))


def learn(text: str, sample: str, *, is_page: bool) -> tuple[Variable, ...]:
    """Return the places in which a sample, another copy of the same text, differs. Raises NotASample."""
    learned: list[Variable] = []
    for start, ours, theirs in _pairs(text, sample) if is_page else [(0, text, sample)]:
        if ours != theirs:
            is_tag = is_page and ours.startswith("<")
            found = _differing_tokens(ours, theirs) if is_tag else _differing_words(ours, theirs)
            learned += (_moved(each, start) for each in found)
    paths = list(_paths(text))
    for each in learned:
        if each.kind is VariableKind.TOKEN:
            may_vary = any(start <= each.start and each.end <= end for start, end in paths)
        else:
            may_vary = _stands_alone(text, each.start, each.end)
        if not may_vary:
            raise NotASample(f'"{text[max(0, each.start - 20) : each.end + 20]}" must be the same in all of them')
    return tuple(learned)


def as_for(text: str, reader: Reader, other: str, other_reader: Reader) -> str:
    """Return ``text`` with the addresses that ``other`` has in place of its reader's, where it has as many."""
    ours, theirs = list(_addresses(text, reader)), list(_addresses(other, other_reader))
    if len(ours) != len(theirs):
        return text
    for each, their in zip(reversed(ours), reversed(theirs), strict=True):
        text = text[: each.start] + other[their.start : their.end] + text[each.end :]
    return text


# --- found in the text


def _addresses(text: str, reader: Reader) -> Iterator[Variable]:
    for address in reader.addresses:
        spellings = "|".join(map(re.escape, sorted({address, quote(address, safe="")}, key=len, reverse=True)))
        for match in re.finditer(rf"(?<![\w.%+-])(?:{spellings})(?![\w%-])", text, re.IGNORECASE):
            yield Variable(match.start(), match.end(), VariableKind.ADDRESS)


def _names(text: str, reader: Reader) -> Iterator[Variable]:
    """Yield where the text says the reader's name, or a word of it."""
    name = reader.name
    for part in dict.fromkeys([name, *(word for word in name.split() if len(word) >= 2)]):
        if part and kind_of([part]) is VariableKind.NAME:
            found = [match for match in re.finditer(re.escape(part), text) if _stands_alone(text, *match.span())]
            if len(found) <= OFTEN:
                for match in found:
                    yield Variable(match.start(), match.end(), VariableKind.NAME, f"To: {part}", bound=True)


def _tokens(text: str) -> Iterator[Variable]:
    for start, end in _paths(text):
        for match in TOKEN.finditer(text, start, end):
            if is_token(match[0]):
                yield Variable(match.start(), match.end(), VariableKind.TOKEN)


def _paths(text: str) -> Iterator[tuple[int, int]]:
    """Yield where the text has the part of a link behind its host; one before a ">" could end a comment."""
    for link in _LINK.finditer(text):
        authority = _AUTHORITY.match(link[0])
        if authority and text[link.end() : link.end() + 1] != ">":
            yield link.start() + authority.end(), link.end()


def _stands_alone(text: str, start: int, end: int) -> bool:
    """Whether a place is not part of a longer word, an address or a link."""
    before, behind = said(text[max(0, start - 12) : start])[-1:], said(text[end : end + 12])[:2]
    return before != "." and not _JOINED.match(before) and not _JOINED.match(behind)


def _apart(found: Sequence[Variable]) -> list[Variable]:
    """Return those that neither overlap nor touch an earlier one of the list, in the order of the text."""
    taken: list[Variable] = []
    for each in sorted(found, key=lambda one: one.start):  # stable: of one start the earlier of the list
        if not taken or each.start > taken[-1].end:
            taken.append(each)
    return taken


# --- proved in the page


def _proved(text: str, variables: Sequence[Variable]) -> list[Variable]:
    """Return those that the parser finds where such a value may stand."""
    try:
        check_tags(text, ReadingBudget())
    except TooIntricate:
        return []
    word = _unused(text)
    marks = [f"{word}{n}q" for n in range(len(variables))]
    bounds = [0, *(place for each in variables for place in (each.start, each.end)), len(text)]
    constants = [text[start:end] for start, end in zip(bounds[::2], bounds[1::2], strict=True)]
    page = "".join(part for pair in zip(constants, [*marks, ""], strict=True) for part in pair)
    found = dict(_places(LexborHTMLParser(page), re.compile(rf"{word}(\d+)q")))
    return [each for n, each in enumerate(variables) if each.kind in found.get(n, frozenset())]


def _places(tree: LexborHTMLParser, mark: re.Pattern[str]) -> Iterator[tuple[int, frozenset[VariableKind]]]:
    """Yield each mark that stands where values may, with the kinds that may."""
    root = tree.root
    for node in root.traverse(include_text=True) if root is not None else ():
        if node.tag == "-text":
            if node.parent is None or node.parent.tag not in _RAW_TEXT:
                for match in mark.finditer(node.text(deep=True)):
                    yield int(match[1]), _IN_TEXT
        elif node.tag == "-comment":
            said_there = node.comment_content or ""
            for match in mark.finditer(said_there):
                if _COMMENT_LINK.search(said_there, max(0, match.start() - 4000), match.start()):
                    yield int(match[1]), _IN_LINK
        elif link := _link_of(node):
            for match in mark.finditer(link):
                yield int(match[1]), _IN_LINK


def _link_of(node: LexborNode) -> str:
    """Return the address of an element in which a token may stand, "" if there is none."""
    if node.tag in ("a", "area"):
        return node.attributes.get("href") or ""
    if node.tag == "img":
        sizes = [node.attributes.get(side) or "" for side in ("width", "height")]
        if all(size.isdigit() and int(size) <= PIXEL for size in sizes):
            return node.attributes.get("src") or ""
    return ""


def _unused(text: str) -> str:
    """Return a word that the text does not have."""
    word = "imprimatur"
    while word in text:
        word += "x"
    return word


# --- learned from a sample


def _pairs(text: str, sample: str) -> Iterator[tuple[int, str, str]]:
    """Yield each part of both texts, with where it starts in the first. Raises NotASample."""
    ours, theirs = list(_SEGMENT.finditer(text)), _SEGMENT.findall(sample)
    if len(ours) != len(theirs):
        raise NotASample("it has other elements")
    for match, other in zip(ours, theirs, strict=True):
        yield match.start(), match[0], other


def _differing_tokens(ours: str, theirs: str) -> Iterator[Variable]:
    """Yield the tokens in which two tags differ."""
    if TOKEN.split(ours) != TOKEN.split(theirs):
        raise NotASample(f"it has {theirs[:60]} for {ours[:60]}")
    for match, other in zip(TOKEN.finditer(ours), TOKEN.findall(theirs), strict=True):
        if match[0] != other:
            yield Variable(match.start(), match.end(), VariableKind.TOKEN)


def _differing_words(ours: str, theirs: str) -> Iterator[Variable]:
    """Yield the words in which two runs of text differ."""
    links = list(_LINK.finditer(ours)), list(_LINK.finditer(theirs))
    if len(links[0]) != len(links[1]):
        raise NotASample("it has other links")
    bounds = [0, 0], [0, 0]
    gaps = []
    for first, second in zip(*links, strict=True):
        gaps.append((bounds[0][1], first.start(), bounds[1][1], second.start()))
        bounds[0][1], bounds[1][1] = first.end(), second.end()
        yield from (_moved(each, first.start()) for each in _differing_tokens(first[0], second[0]))
    gaps.append((bounds[0][1], len(ours), bounds[1][1], len(theirs)))
    for start, end, other_start, other_end in gaps:
        for each in _differing_text(ours[start:end], theirs[other_start:other_end]):
            yield _moved(each, start)


def _differing_text(ours: str, theirs: str) -> Iterator[Variable]:
    first, second = _WORD.findall(ours), _WORD.findall(theirs)
    if max(len(first), len(second)) > LONGEST_DIFFERENCE:
        raise NotASample("its text is too long to be compared; hand it over as a message of its own")
    starts = [0]
    for word in first:
        starts.append(starts[-1] + len(word))
    matcher = SequenceMatcher(None, first, second, autojunk=False)
    blocks = [block for block in matcher.get_opcodes() if block[0] != "equal"]
    for _, i1, i2, j1, j2 in _joined(blocks, first):
        mine, other = "".join(first[i1:i2]), "".join(second[j1:j2])
        kind = kind_of([said(mine), said(other)])
        if kind is None:
            raise NotASample(f'it says "{other[:60]}" where the reference says "{mine[:60]}"')
        yield Variable(starts[i1], starts[i2], kind, f"{mine} | {other}")


def _joined(
    blocks: Sequence[tuple[str, int, int, int, int]], words: Sequence[str]
) -> Iterator[tuple[str, int, int, int, int]]:
    """Yield the differing runs; those with no more than a space between them are one, as the words of a name are."""
    if not blocks:
        return
    whole = blocks[0]
    for one in blocks[1:]:
        if not "".join(words[whole[2] : one[1]]).strip():
            whole = (whole[0], whole[1], one[2], whole[3], one[4])
        else:
            yield whole
            whole = one
    yield whole


def _moved(variable: Variable, by: int) -> Variable:
    return Variable(variable.start + by, variable.end + by, variable.kind, variable.slot, variable.bound)

"""Write notices into a page so that its own styles and elements cannot hide them.

The page is parsed and written anew, which ends whatever was left open, and the block with the notices is the last
element of its body. The block's own styles outrank all others (``notice``); html and body get some of that too. What
might hide, cover or move the block all the same makes the page unproven: nothing is written, and the fault quotes it.

A notice with a placeholder becomes part of the page's own text there, if that is proved to show (``HtmlDocument``);
otherwise the placeholder goes, and the notice stands in the block.

Invariants: what is written is read once more: the block is a child of the body, in Outlook's reading of conditional
comments too. Every link of every recipient is written the same way, so that one proof holds for all.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence

import tinycss2
from selectolax.lexbor import LexborHTMLParser, LexborNode

from policy.footer.notice import Notice, Run, as_block, in_place
from policy.footer.plain import PLACEHOLDER
from policy.html.css import Sheet
from policy.html.document import LIMIT, HtmlDocument, check_tags, sheets_of
from policy.html.visibility import doubt_about_body
from policy.reading_budget import ReadingBudget, TooIntricate

FAR = 4000  # pixels, rows or blanks of an older attribute: more pushes what follows out of sight
NARROWEST = 0.5  # scale at which a phone may show the page
WIDEST = 1200  # pixels of a phone's viewport

_ROOT_STYLE = (
    "display:block !important;position:static !important;float:none !important;height:auto !important;"
    "max-height:none !important;overflow:visible !important"
)
_ROOT_NAMES = [declaration.partition(":")[0] for declaration in _ROOT_STYLE.split(";")]
_SIZES = ("height", "size", "rows", "vspace", "cellpadding", "cellspacing", "border", "marginheight", "topmargin")
_SIZED = ",".join(f"[{name}]" for name in _SIZES)
_DIGITS = re.compile(r"\s*\+?(\d{4,})")
_DOCTYPE = re.compile(r"\s*(<!doctype[^>]*>)", re.IGNORECASE)
_REVEALED = re.compile(r"<!--\[(if[^\]]*|endif)\]-->")
_OPENS = re.compile(r"<!\[if|<!--\[if[^\]]*\]>\s*(?:<!)?-->", re.IGNORECASE)
_CLOSES = re.compile(r"<!\[endif\]>|<!--\s*<!\[endif\]\s*-->", re.IGNORECASE)
_FOR_OUTLOOK = re.compile(r"<!--\[if([^\]!]*)\]>(.*?)-->", re.IGNORECASE | re.DOTALL)
_COMMENT = re.compile(r"<!--.*?(?:-->|\Z)", re.DOTALL)
_ENDIF = re.compile(r"<!\[endif\]\s*\Z", re.IGNORECASE)
_NUMBER = re.compile(r"(width|height|initial-scale|maximum-scale)\s*=\s*([\d.]+)", re.IGNORECASE)
_UNREADABLE = {"title", "style", "script", "textarea", "option", "noscript", "template", "iframe"}


class NotWritable(Exception):
    """Why it cannot be proved that a notice would show; the text quotes what is in doubt."""


class NoticePage:
    """One HTML text, ready for notices. Raises NotWritable when made."""

    __slots__ = ("_budget", "_doctype", "_mark", "_pieces", "_placed", "language")

    def __init__(self, html: str, budget: ReadingBudget) -> None:
        if len(html) > LIMIT:
            raise NotWritable(f"the HTML has more than {LIMIT} characters; shorten it")
        self._mark = _unused(html)
        self._budget = budget
        self._placed: dict[tuple[str, str], bool] = {}
        doctype = _DOCTYPE.match(html)
        self._doctype = doctype[1] if doctype else ""
        marked = PLACEHOLDER.sub(lambda place: f"{self._mark}{place[1]}.", html)
        try:
            check_tags(marked, budget)
            tree = LexborHTMLParser(marked)
            self.language = _language(tree)
            self._check_elements(tree, marked)
            self._check_placeholders(tree, marked)
            self._pieces = self._written(tree)
        except TooIntricate as error:
            raise NotWritable(f"the HTML {error}") from None

    def _check_elements(self, tree: LexborHTMLParser, html: str) -> None:
        """Raises NotWritable."""
        if tree.body is None:
            raise NotWritable("the HTML has frames in place of a body")
        if fault := next(_strange_elements(tree, html), ""):
            raise NotWritable(f"{fault} could keep the footer from showing; take it out of the HTML")

    def _prove(self, tree: LexborHTMLParser) -> None:
        """Raise NotWritable if the styles of the page as it is written could touch the block. Raises TooIntricate."""
        sheets = sheets_of(tree, self._budget)
        doubt = doubt_about_body(tree, sheets, self._budget)
        drawn = next((selector for sheet in sheets for selector in (*sheet.drawn, *_looking_down(sheet))), "")
        if doubt or drawn:
            where = doubt or f"{drawn} {{…}}"
            raise NotWritable(f'it is not proved that the footer shows under the style "{where[:90]}"; take it out')

    def _check_placeholders(self, tree: LexborHTMLParser, marked: str) -> None:
        """Placeholders stand in text that is read, or are the whole address of a link. Raises NotWritable."""
        if tree.root is None or self._mark not in marked:
            return
        if any(self._mark in comment for comment in _COMMENT.findall(marked)):
            raise NotWritable("a placeholder stands in a comment; write it into text that shows")
        for node in tree.root.traverse(include_text=True):
            if node.tag in _UNREADABLE and self._mark in (node.html or ""):
                raise NotWritable(f"a placeholder stands in <{node.tag}>; write it into text that shows")
            for name, value in node.attributes.items() if node.is_element_node else ():
                if self._mark in (value or "") and not self._is_link(node, name, value or ""):
                    raise NotWritable(
                        f"a placeholder stands in the attribute {name} of <{node.tag}>; write it into text that "
                        'shows, or as <a href="{{unsubscribe}}">'
                    )

    def _is_link(self, node: LexborNode, name: str, value: str) -> bool:
        return node.tag == "a" and name == "href" and value.strip() == f"{self._mark}unsubscribe."

    def _written(self, tree: LexborHTMLParser) -> tuple[str, ...]:
        """Return the page in pieces; every second one is the name of what stands between them. Raises NotWritable,
        TooIntricate."""
        body = tree.body
        assert body is not None
        for link in tree.css(f'a[href*="{self._mark}"]'):
            link.attrs["href"] = f"{self._mark}href."
        for node in (body, body.parent):
            if node is not None:
                node.attrs["style"] = _with_root_style(node.attributes.get("style") or "")
        for node in tree.css("meta[charset], meta[http-equiv]"):
            _say_utf8(node)
        body.insert_child(f"{self._mark}end.")
        html = tree.html or ""
        if self._doctype:
            html = self._doctype + html.removeprefix("<!DOCTYPE html>")
        html = _REVEALED.sub(r"<![\1]>", html)
        self._check_outlook(html)
        pieces = re.split(rf"{self._mark}(\w+)\.", html)
        if _tail(pieces[-1]) is None:
            raise NotWritable("the end of the HTML is not clear; end it with </body></html>")
        # Read again as it is written, but for our styles of html and body, which some programs drop.
        self._prove(_check_block(_filled(pieces, "end", as_block((_SAMPLE,), "")).replace(_ROOT_STYLE, "")))
        return tuple(pieces)

    def _check_outlook(self, html: str) -> None:
        """Raises NotWritable."""
        opened = [match.start() for match in _OPENS.finditer(html)]
        closed = [match.start() for match in _CLOSES.finditer(html)]
        if opened and (not closed or closed[-1] < opened[-1]):
            raise NotWritable("a conditional comment (<![if ...]>) stays open to the end; close it with <![endif]>")
        if not any(_FOR_OUTLOOK.finditer(html)):
            return
        if not all(_ENDIF.search(match[2]) for match in _FOR_OUTLOOK.finditer(html)):
            raise NotWritable("a comment <!--[if ...]> does not end with <![endif]-->")
        shown = _FOR_OUTLOOK.sub(lambda match: _ENDIF.sub("", match[2]), html)
        _check_block(shown.replace(f"{self._mark}end.", as_block((_SAMPLE,), "")), " in Outlook")

    def write(self, notices: Sequence[Notice], spoken: str) -> str:
        """Return the page with ``notices``: at their placeholders if they are proved to show there, else in the block.
        Raises NotWritable."""
        names = frozenset(self._pieces[1::2])
        placed = [notice for notice in notices if self._shows(notice, spoken, names)]
        rest = [notice for notice in notices if notice not in placed]
        return self._fill(placed, rest, spoken)

    def _fill(self, placed: Sequence[Notice], rest: Sequence[Notice], spoken: str) -> str:
        known = {notice.name: in_place(notice, spoken) for notice in placed}
        url = next((run.url for notice in (*placed, *rest) for run in notice.runs(spoken) if run.url), "")
        known["href"] = url.replace("&", "&amp;").replace('"', "&quot;")
        known["end"] = as_block(rest, spoken) if rest else ""
        pieces, seen = [], set()
        for n, piece in enumerate(self._pieces):
            if n % 2 == 0:
                pieces.append(piece)
            elif piece == "href" or piece not in seen:
                pieces.append(known.get(piece, ""))
                seen.add(piece)
        return "".join(pieces)

    def _shows(self, notice: Notice, spoken: str, names: frozenset[str]) -> bool:
        """Whether it is proved to show at its placeholder; asked once, for it does not depend on the recipient."""
        linked = "href" in names and any(run.url for run in notice.runs(spoken))
        if notice.name not in names and not linked:
            return False
        key = notice.name, notice.language(spoken)
        if key not in self._placed:
            document = HtmlDocument(self._fill((notice,), (), spoken), self._budget)
            urls = {link.url for link in document.links if not link.is_blank}
            text = " ".join(document.text.split())
            self._placed[key] = all(
                run.url in urls if run.url else " ".join(run.text.split()) in text for run in notice.runs(spoken)
            )
        return self._placed[key]


def _unused(html: str) -> str:
    """Return a word that ``html`` does not hold, in any case of letters."""
    lower, n = html.lower(), 0
    while f"imprimatur{n}x" in lower:
        n += 1
    return f"imprimatur{n}x"


_SAMPLE = Notice("sample", {"": (Run("text"), Run("link", "https://mail.example/u/"))})
_AT = 'div[role="contentinfo"]'


def _check_block(html: str, where: str = "") -> LexborHTMLParser:
    """Return the page, read once more. Raise NotWritable unless the block is the last element of the body, with
    nothing around it."""
    tree = LexborHTMLParser(html)
    body = tree.body
    last = body.last_child if body is not None else None
    while last is not None and not last.is_element_node:
        last = last.prev
    if body is None or last is None or last.tag != "div" or last.attributes.get("role") != "contentinfo":
        raise NotWritable(f"elements that stay open would hold the footer{where}; close them")
    if last.attributes.get("style") != as_block_style(html):
        raise NotWritable(f"elements that stay open would hold the footer{where}; close them")
    return tree


def as_block_style(html: str) -> str:
    """Return the style of the block that was written into ``html``."""
    start = html.rindex('<div role="contentinfo"')
    return html[html.index('style="', start) + 7 :].split('"', 1)[0]


def _tail(html: str) -> re.Match[str] | None:
    """Behind the block there are comments and white space at most."""
    return re.fullmatch(r"(?:\s|<!--(?:(?!-->).)*-->)*</body>(?:\s|<!--(?:(?!-->).)*-->)*</html>.*", html, re.DOTALL)


def _filled(pieces: Sequence[str], name: str, text: str) -> str:
    return "".join(piece if n % 2 == 0 else text if piece == name else "" for n, piece in enumerate(pieces))


def _language(tree: LexborHTMLParser) -> str:
    """Return the primary tag of the language that html or body says ("nl" of "nl-BE"), or ""."""
    for node in (tree.body, tree.root):
        said = (node.attributes.get("lang") or node.attributes.get("xml:lang") or "") if node is not None else ""
        if said:
            return said.strip().lower().replace("_", "-").split("-")[0][:8]
    return ""


def _with_root_style(style: str) -> str:
    """Return the style of html or body with ours behind it. Raises NotWritable."""
    whole = f"{style};{_ROOT_STYLE}" if style.strip() else _ROOT_STYLE
    if style.strip():
        nodes = tinycss2.parse_blocks_contents(whole, skip_comments=True, skip_whitespace=True)
        last = [node.name for node in nodes[-len(_ROOT_NAMES) :] if node.type == "declaration" and node.important]
        if last != _ROOT_NAMES:
            raise NotWritable(f'the style "{style[:60]}" of <body> or <html> leaves something open; close it')
    return whole


def _say_utf8(meta: LexborNode) -> None:
    if "charset" in meta.attributes:
        meta.attrs["charset"] = "utf-8"
    elif (meta.attributes.get("http-equiv") or "").strip().lower() == "content-type":
        meta.attrs["content"] = "text/html; charset=utf-8"


def _looking_down(sheet: Sheet) -> Iterator[str]:
    """Yield the selectors of rules that could hide an element for what is in it, which differs between recipients."""
    for rule in sheet.rules:
        style = rule.style
        hides = style.gone or style.doubt or style.covers or style.opacity is not None
        if hides and ":has(" in rule.selector.lower():
            yield rule.selector


# --- elements that do more than show what is in them


def _strange_elements(tree: LexborHTMLParser, html: str) -> Iterator[str]:
    """Yield what is not as it seems when the page is written anew, lies over it, or changes how it is read."""
    lower = html.lower()
    for name, is_strange in _STRANGE.items():
        if f"<{name}" in lower and any(map(is_strange, tree.tags(name))):
            yield f"<{name}>"
    for node in tree.css(_SIZED):
        said = node.attributes
        for name in _SIZES:
            if (digits := _DIGITS.match(said.get(name) or "")) and int(digits[1][:9]) > FAR:
                yield f"{name}={digits[1][:12]}"


def _is_script(node: LexborNode) -> bool:
    return (node.attributes.get("type") or "").strip().lower() not in ("application/ld+json", "application/json")


def _is_shadow(node: LexborNode) -> bool:
    return any(name.startswith("shadowroot") for name in node.attributes)


def _is_telling_meta(node: LexborNode) -> bool:
    kind = (node.attributes.get("http-equiv") or "").strip().lower()
    if kind not in ("", "content-type", "x-ua-compatible", "content-language", "cleartype", "imagetoolbar"):
        return kind in ("content-security-policy", "refresh", "default-style")
    if (node.attributes.get("name") or "").strip().lower() != "viewport":
        return False
    for name, number in _NUMBER.findall(node.attributes.get("content") or ""):
        value = float(number) if number.count(".") < 2 and number != "." else 0.0
        if value < NARROWEST if "scale" in name.lower() else value > WIDEST:
            return True
    return False


def _holds_markup(node: LexborNode) -> bool:
    """Whether programs that run scripts would read its text otherwise than those that do not."""
    inner = (node.inner_html or "").lower()
    return "</noscript" in inner or "<!--" in inner


def _always(_: LexborNode) -> bool:
    return True


_STRANGE: dict[str, Callable[[LexborNode], bool]] = {
    "script": _is_script, "template": _is_shadow, "meta": _is_telling_meta, "noscript": _holds_markup,
    "plaintext": _always, "frameset": _always, "dialog": _always, "xmp": _always, "listing": _always,
    "noembed": _always, "noframes": _always, "math": _always, "portal": _always, "fencedframe": _always,
    "selectedcontent": _always,
}  # fmt: skip

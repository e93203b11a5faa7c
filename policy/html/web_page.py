"""A web page as it came by HTTP: its text, links and forms, before any script ran.

Invariants: never raises for what a page holds. A page that is too large or too intricate is read in part, or not at all
(``fault``).

Limitations: style sheets are not read: only the attribute ``hidden`` and ``display:none`` of an element itself hide it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from selectolax.lexbor import LexborHTMLParser, LexborNode

from policy.html.document import LIMIT, Link, check_tags
from policy.reading_budget import ReadingBudget, TooIntricate
from policy.text.parts import codec_of

MAX_FORMS, MAX_FIELDS = 50, 200

_CHARSET = re.compile(rb"""charset\s*=\s*["']?([A-Za-z0-9_:.+-]{1,40})""", re.IGNORECASE)
_HEAD = 1024  # octets in which a page names its charset (HTML 4.2.5)
_NOT_SHOWN = "script, style, template, [hidden], [style*='display:none' i], [style*='display: none' i]"
_FIELDS = "input, select, textarea, button"
_BUTTONS = frozenset({"submit", "image"})
_CAPTCHAS = ".g-recaptcha, .h-captcha, .cf-turnstile, .frc-captcha"


@dataclass(frozen=True, slots=True)
class FormField:
    """One field, or the options of one name. ``label``: what it is called, by its label, name and placeholder.
    ``answered``: it has a value, or an option is chosen already. ``options``: what can be chosen."""

    kind: str
    label: str
    required: bool = False
    answered: bool = False
    options: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Form:
    """``buttons``: the words of those that send it without a script."""

    action: str
    text: str
    fields: tuple[FormField, ...]
    buttons: tuple[str, ...]
    captcha: bool = False

    @property
    def asks_password(self) -> bool:
        return any(field.kind == "password" for field in self.fields)

    @property
    def searches(self) -> bool:
        return any(field.kind == "search" for field in self.fields)


class WebPage:
    """``text``: a line for each run of text. ``scripted``: it has scripts, and may show more with them.
    ``loose_buttons``: words of the buttons that send no form."""

    __slots__ = ("fault", "forms", "links", "loose_buttons", "scripted", "text", "title")

    def __init__(self, html: str) -> None:
        self.title = self.text = self.fault = ""
        self.forms: tuple[Form, ...] = ()
        self.links: tuple[Link, ...] = ()
        self.loose_buttons: tuple[str, ...] = ()
        self.scripted = False
        try:
            check_tags(html[:LIMIT], ReadingBudget())
        except TooIntricate as error:
            self.fault = f"the HTML {error}"
            return
        self._read(LexborHTMLParser(html[:LIMIT]))

    def _read(self, tree: LexborHTMLParser) -> None:
        self.scripted = tree.css_first("script") is not None
        title = tree.css_first("title")
        self.title = _words(title) if title else ""
        for node in tree.css(_NOT_SHOWN):
            node.decompose()
        body = tree.body
        if body is None:
            return
        self.text = body.text(deep=True, separator="\n", skip_empty=True)
        self.links = tuple(Link((node.attrs["href"] or "").strip(), node=node) for node in body.css("a[href]"))
        self.forms = tuple(_form(tree, node) for node in body.css("form")[:MAX_FORMS])
        loose = body.css("button, input[type=button i]")[:MAX_FIELDS]
        self.loose_buttons = tuple(_words(node) for node in loose if not _sends(node) or not _is_in_form(node))


def decode_page(octets: bytes, content_type: str) -> str:
    """Return a page as text: by the charset that it was sent with, or names itself, if it keeps to that."""
    for named in (_CHARSET.search(content_type.encode()), _CHARSET.search(octets[:_HEAD])):
        codec = codec_of(named[1].decode().lower()) if named else None
        for candidate in (codec, "utf-8"):
            if candidate:
                try:
                    return octets.decode(candidate)
                except UnicodeDecodeError:
                    continue
    return octets.decode("cp1252", "replace")


def _form(tree: LexborHTMLParser, form: LexborNode) -> Form:
    nodes = form.css(_FIELDS)
    if (name := form.attributes.get("id")) and re.fullmatch(r"[\w-]{1,100}", name):
        nodes += [
            node for node in tree.css(f'[form="{name}"]') if node.tag in ("input", "select", "textarea", "button")
        ]
    nodes = nodes[:MAX_FIELDS]
    captcha = any(node.attributes.get("data-size") != "invisible" for node in form.css(_CAPTCHAS))
    return Form(
        action=(form.attributes.get("action") or "").strip(),
        text=form.text(deep=True, separator="\n", skip_empty=True),
        fields=tuple(_fields(tree, nodes)),
        buttons=tuple(_words(node) for node in nodes if _sends(node)),
        captcha=captcha,
    )


def _fields(tree: LexborHTMLParser, nodes: list[LexborNode]) -> Iterator[FormField]:
    groups: dict[str, list[LexborNode]] = {}
    for node in nodes:
        said, kind = node.attributes, _kind(node)
        if kind in ("hidden", "button", "reset") or kind in _BUTTONS or "disabled" in said:
            continue
        required = "required" in said or said.get("aria-required") == "true"
        if kind == "radio":
            groups.setdefault(said.get("name") or "", []).append(node)
        elif kind == "checkbox":
            yield FormField(kind, _label(tree, node), required, "checked" in said)
        elif kind == "select":
            options = node.css("option")
            chosen = next((each for each in options if "selected" in each.attributes), options[0] if options else None)
            answered = (
                chosen is not None and chosen.attributes.get("value") != "" and "disabled" not in chosen.attributes
            )
            yield FormField(kind, _label(tree, node), required, answered, tuple(map(_words, options)))
        else:
            value = node.text() if kind == "textarea" else said.get("value")
            yield FormField(kind, _label(tree, node), required, bool((value or "").strip()))
    for name, group in groups.items():
        required = any("required" in node.attributes for node in group)
        answered = any("checked" in node.attributes for node in group)
        yield FormField("radio", name, required, answered, tuple(_label(tree, node) for node in group))


def _kind(node: LexborNode) -> str:
    """Return the type of an input or a button; the tag of others."""
    tag = node.tag or ""
    if tag in ("input", "button"):
        return (node.attributes.get("type") or ("text" if tag == "input" else "submit")).strip().lower()
    return tag


def _sends(node: LexborNode) -> bool:
    return _kind(node) in _BUTTONS and "disabled" not in node.attributes


def _is_in_form(node: LexborNode) -> bool:
    if node.attributes.get("form"):
        return True
    parent = node.parent
    while parent is not None and parent.tag != "form":
        parent = parent.parent
    return parent is not None


def _label(tree: LexborHTMLParser, node: LexborNode) -> str:
    """Return what a field is called: by the label around it or for it, its name and its placeholder."""
    said, words = node.attributes, []
    parent = node.parent
    if parent is not None and parent.tag == "label":
        words.append(_words(parent))
    if (name := said.get("id")) and re.fullmatch(r"[\w-]{1,100}", name):
        words += [_words(label) for label in tree.css(f'label[for="{name}"]')]
    words += [said.get(key) or "" for key in ("name", "placeholder", "aria-label")]
    return " ".join(filter(None, words))


def _words(node: LexborNode) -> str:
    said = node.attributes
    words = " ".join(node.text(deep=True).split())
    return words or (said.get("value") or said.get("aria-label") or said.get("alt") or said.get("title") or "").strip()

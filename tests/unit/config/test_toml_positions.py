"""Every key of a TOML text is found, on its line."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from config.toml_positions import KeyPath, locate, nearest

TEXT = """\
top = 1 # one
[server]
"host\\u0020name" = 'x' # [not.a.table]
user.name = "m'ta"

[[listeners]]
port = 1
from = [ # the first
  "a", 'b]', # two
  ["c"],
]
[listeners.tls]
file = \"\"\"
[x]
y = 1\"\"\"\"
[[listeners]]
port = 2
[[listeners.rules]]
id = 1979-05-27 07:32:00
[[listeners.rules]]
id = { a = 1, b.c = [2, 3] }
[other]
text = '''
''a'''''
end = true
"""


def test_lines() -> None:
    lines = locate(TEXT)
    expected: dict[KeyPath, int] = {
        ("top",): 1,
        ("server",): 2,
        ("server", "host name"): 3,
        ("server", "user", "name"): 4,
        ("listeners",): 6,
        ("listeners", 0, "port"): 7,
        ("listeners", 0, "from", 0): 9,
        ("listeners", 0, "from", 1): 9,
        ("listeners", 0, "from", 2, 0): 10,
        ("listeners", 0, "tls", "file"): 13,
        ("listeners", 1): 16,
        ("listeners", 1, "rules", 0, "id"): 19,
        ("listeners", 1, "rules", 1): 20,
        ("listeners", 1, "rules", 1, "id", "b", "c", 1): 21,
        ("other", "end"): 25,
    }
    assert {path: lines.get(path) for path in expected} == expected
    assert nearest(lines, ("listeners", 1, "missing")) == 16
    assert nearest(lines, ("missing",)) is None


def paths(value: Any, path: KeyPath = ()) -> Iterator[KeyPath]:
    if path:
        yield path
    if isinstance(value, dict):
        for key, item in value.items():
            yield from paths(item, (*path, key))
    elif isinstance(value, list):
        for n, item in enumerate(value):
            yield from paths(item, (*path, n))


KEYS = st.text(st.sampled_from("ab-_1 .\"'#[]=ä"), min_size=1, max_size=4)
SCALARS = st.one_of(
    st.booleans(), st.integers(-99, 99), st.text(max_size=8), st.sampled_from(["a]", '"""', "'''", "#"])
)
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3))


def written(value: Any) -> str:
    match value:
        case dict():
            return "{" + ", ".join(f"{json.dumps(key)} = {written(item)}" for key, item in value.items()) + "}"
        case list():
            return "[ # [\n" + ",\n".join(written(item) for item in value) + "\n]"
        case str():
            return re.sub("[\x7f-\x9f]", "?", json.dumps(value, ensure_ascii=False))
        case _:
            return json.dumps(value)


@given(
    st.dictionaries(KEYS, st.dictionaries(KEYS, VALUES, max_size=3), max_size=4),
    st.lists(st.dictionaries(KEYS, VALUES, max_size=3), min_size=1, max_size=3),
)
def test_finds_every_key(tables: dict[str, dict[str, Any]], items: list[dict[str, Any]]) -> None:
    parts = [(f"[{json.dumps(name, ensure_ascii=False)}]", table) for name, table in tables.items()]
    parts += [("[[ list . 'of' ]]", item) for item in items]
    text = "\n".join(
        head
        + "\n"
        + "\n".join(f"{json.dumps(key, ensure_ascii=False)} = {written(item)}" for key, item in table.items())
        for head, table in parts
    )
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return  # lone surrogates and the like
    assert set(paths(data)) <= set(locate(text))

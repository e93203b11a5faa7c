"""How ``mta profile`` shows profiles and rules: for people, or as JSON.

It must never show less than what is in effect: inherited settings and defaults are settings too.
"""

from __future__ import annotations

import inspect
from typing import Any

import orjson
from rich.console import Console
from rich.table import Table

from config.describe import find, show
from config.document import to_toml
from config.types import Section
from policy.plugins import Installed, RuleClass
from policy.profile import Profile, Profiles, StreamRules
from policy.profile_file import TABLES


def print_list(profiles: Profiles, *, as_json: bool) -> None:
    each = [profiles.get(name) for name in profiles.names]
    if as_json:
        _print([_outline(profile) for profile in each])
        return
    table = Table(box=None, pad_edge=False)
    for title in ("profile", "stands on", "streams", "about"):
        table.add_column(title, overflow="fold", no_wrap=title == "profile")
    for profile in each:
        streams = ", ".join(stream.value for stream in profile.streams)
        table.add_row(profile.name, profile.line[-2] if len(profile.line) > 1 else "-", streams, profile.about)
    Console(highlight=False).print(table)


def print_profile(profile: Profile, *, as_json: bool) -> None:
    """The profile as one file that would say the same."""
    if as_json:
        streams = {stream.value: _stream(rules) for stream, rules in profile.streams.items()}
        tables = {name: getattr(profile, name).model_dump(mode="json") for name in TABLES}
        _print(_outline(profile) | {"chains": streams} | tables)
        return
    print(f"# {profile.name} ({profile.digest}), from {profile.where}")
    if len(profile.line) > 1:
        print(f"# with what it inherits from {', '.join(profile.line[-2::-1])}")
    print(f"about = {show_text(profile.about)}")
    for stream, rules in profile.streams.items():
        print(f"\n[{stream.value}]\nchain = [")
        for rule in rules.chain.rules:
            print(f'  "{rule.name}",')
        print("]")
        print(f"observe = {show(sorted(rules.chain.observed))}")
        print(f'failing = "{rules.chain.failing.value}"')
        for name, settings in rules.settings.items():
            if given := to_toml(settings).strip():
                print(f"\n[{stream.value}.rules.{name}]\n{given}")
    for name in TABLES:
        print(f"\n[{name}]\n{to_toml(getattr(profile, name)).strip()}")


def show_text(text: str) -> str:
    """A TOML string of ``text``, which JSON writes in the same way."""
    return orjson.dumps(text).decode()


def print_rules(found: Installed, *, as_json: bool) -> None:
    if as_json:
        rules = {
            name: {"about": _about(rule), "settings": _keys(rule.Settings)} for name, rule in found.classes.items()
        }
        _print({"rules": rules, "broken": dict(found.broken)})
        return
    for name, rule in sorted(found.classes.items()):
        print(f"{name}: {_about(rule)}")
        for key, told in _keys(rule.Settings).items():
            print(f"    {key} = {told['default']}  {told['meaning']}")
    for name, why in found.broken.items():
        print(f"{name} cannot be used: {why}")


def _about(rule: RuleClass) -> str:
    """The first sentence of its module, without the name."""
    module = inspect.getmodule(rule)
    first = (inspect.getdoc(module) or "").partition("\n\n")[0].replace("\n", " ")
    return first.partition(": ")[2] or first


def _keys(settings: type[Section]) -> dict[str, dict[str, str]]:
    """Default and meaning of each key."""
    schema = settings.model_json_schema()
    keys: dict[str, dict[str, str]] = {}
    for key in settings.model_fields:
        part, _ = find(schema, (key,))
        default = part.get("default")
        meaning = " ".join(str(part.get("description", "")).split())
        keys[key] = {"default": "none" if default is None else show(default), "meaning": meaning}
    return keys


def _outline(profile: Profile) -> dict[str, Any]:
    return {
        "name": profile.name,
        "about": profile.about,
        "from": profile.where,
        "line": profile.line,
        "digest": profile.digest,
        "streams": [stream.value for stream in profile.streams],
    }


def _stream(rules: StreamRules) -> dict[str, Any]:
    return {
        "chain": [
            {
                "rule": name,
                "observed": name in rules.chain.observed,
                "settings": settings.model_dump(mode="json"),
            }
            for name, settings in rules.settings.items()
        ],
        "failing": rules.chain.failing.value,
    }


def _print(data: object) -> None:
    print(orjson.dumps(data, option=orjson.OPT_INDENT_2).decode())

"""Every mistake at once: each file in ``bad/`` is refused with exactly the lines of the text beside it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from config.load import ConfigError, load_file, load_text

BAD = Path(__file__).parent / "bad"
FILES = {"open.key": 0o644, "closed.key": 0o600, "chain.pem": 0o644}


@pytest.mark.parametrize("name", sorted(path.stem for path in BAD.glob("*.toml")))
def test_bad_file(name: str, tmp_path: Path) -> None:
    for file, mode in FILES.items():
        (tmp_path / file).touch()
        (tmp_path / file).chmod(mode)
    path = tmp_path / f"{name}.toml"
    shutil.copy(BAD / path.name, path)
    with pytest.raises(ConfigError) as caught:
        load_file(path)
    lines = [
        line.replace(f"{tmp_path}/{path.name}", "FILE").replace(str(tmp_path), "FOLDER") for line in caught.value.lines
    ]
    assert "\n".join(lines) + "\n" == (BAD / f"{name}.txt").read_text()


def test_secrets_stay_secret() -> None:
    for path in BAD.glob("*.txt"):
        assert "topsecret" not in path.read_text(), path.name


@pytest.mark.parametrize(
    ("text", "start"),
    [
        ("[server\n", "mta.toml:1: invalid TOML at column 8: "),
        ("a = 1\nb = [1,", "mta.toml:2: invalid TOML: "),
        ("[web]\nport = 1\nport = 2\n", "mta.toml:3: invalid TOML at column 9: "),
    ],
)
def test_syntax(text: str, start: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_text(text, "mta.toml", Path("/"))
    assert caught.value.lines[0].startswith(start)


@pytest.mark.parametrize(
    "text",
    [
        "a = " + "[" * 3000 + "]" * 3000,
        "a = " + "{b=" * 3000 + "1" + "}" * 3000,
        "[web]\nport = " + "9" * 5000,
        "[web]\nport = 0x" + "f" * 5000,
        "[queue]\nexpire_after = '" + "9" * 400 + "d'",
        "[queue]\nactive_size = '" + "9" * 400 + "GiB'",
        "[server]\ndata_dir = '" + "x" * 2_000_001 + "'",
        "[server]\nsecret_file = '\\u0000'\n[web]\nport = 1.5",
        '[server]\nsecret_file = "\\u0000"',
    ],
    ids=lambda text: text[:20],
)
def test_excess(text: str) -> None:
    with pytest.raises(ConfigError):
        load_text(text, "mta.toml", Path("/"))


def test_unreadable(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.toml: cannot read file: No such file or directory"):
        load_file(tmp_path / "nowhere.toml")
    with pytest.raises(ConfigError, match="cannot read file: Is a directory"):
        load_file(tmp_path)
    (tmp_path / "latin.toml").write_bytes(b"# na\xefve")
    with pytest.raises(ConfigError, match=r"latin\.toml:1: not UTF-8: octet 0xEF, in Latin-1 'ï' at column 5"):
        load_file(tmp_path / "latin.toml")

"""What a configuration names, and what this machine lacks: each mistake with its level and the line of its key."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from config.load import draft_file
from config.toml import ConfigError, MistakeLevel
from mta.service import environment_check
from mta.service.config_validation import examine, load_valid

ERROR, WARNING, NOTE = MistakeLevel.ERROR, MistakeLevel.WARNING, MistakeLevel.NOTE
DAY = timedelta(days=1)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    tmp_path.chmod(0o755)
    return tmp_path


def told(folder: Path, text: str, level: MistakeLevel = ERROR) -> list[str]:
    """What is found in a file with ``text``, without the path of the folder."""
    path = folder / "mta.toml"
    path.write_text(text)
    draft = draft_file(path)
    examine(draft)
    return [line.replace(f"{folder}/", "") for line in draft.lines(level)]


def key_file(folder: Path, name: str, bits: int = 2048) -> rsa.RSAPrivateKey:
    key = rsa.generate_private_key(65537, bits)
    private(folder / name, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return key


def private(path: Path, octets: bytes) -> None:
    path.write_bytes(octets)
    path.chmod(0o600)


@pytest.mark.parametrize("bits", [1024, 2047])
def test_a_weak_key_is_refused(bits: int, folder: Path) -> None:
    key_file(folder, "weak.pem", bits)
    text = '[[signing.keys]]\ndomain = "shop.example"\nselector = "s"\nfile = "weak.pem"\n'
    assert told(folder, text) == [
        f"mta.toml:4: signing.keys[0].file: weak.pem: RSA with {bits} bits is weak; replace it by one of 2048 bits"
    ]


@pytest.mark.parametrize("content", [b"", b"zz" * 32, b"00" * 31, b"00" * 33, b"\xff" * 64, "\u0661".encode() * 64])
@pytest.mark.parametrize("default", [False, True])
def test_a_malformed_secret(content: bytes, default: bool, folder: Path) -> None:
    (folder / "data").mkdir()
    private(folder / "data" / "secret", content)
    key = 'data_dir = "data"' if default else 'secret_file = "data/secret"'
    (line,) = told(folder, f"[server]\n{key}\n")
    assert line.startswith(f"mta.toml:2: server.{key.partition(' ')[0]}: data/secret must hold 32 octets")


def test_a_secret_that_others_can_read(folder: Path) -> None:
    (folder / "data").mkdir()
    (folder / "data" / "secret").write_text("00" * 32)
    (line,) = told(folder, '[server]\ndata_dir = "data"\n')
    assert line == "mta.toml:2: server.data_dir: data/secret can be read by others: chmod 600 data/secret"


@pytest.mark.parametrize(
    ("data_dir", "why"),
    [
        ("file", "file is a file; name a directory"),
        ("file/below/it", "file is a file, so that there can be no file/below/it; name a directory"),
        ("link", "link is a link that leads nowhere; name a directory"),
    ],
)
def test_a_data_directory_that_cannot_be(data_dir: str, why: str, folder: Path) -> None:
    (folder / "file").touch()
    (folder / "link").symlink_to("nowhere")
    assert told(folder, f'[server]\ndata_dir = "{data_dir}"\n') == [f"mta.toml:2: server.data_dir: {why}"]


def test_a_user_that_is_not_there_hides_nothing_else(folder: Path) -> None:
    private(folder / "no.pem", b"no key")
    lines = told(
        folder,
        '[server]\nuser = "nobody-such"\n[[signing.keys]]\ndomain = "shop.example"\nselector = "s"\nfile = "no.pem"\n',
    )
    assert lines[0] == (
        "mta.toml:2: server.user: there is no user 'nobody-such' on this machine; create it or name another one"
    )
    assert lines[1].startswith("mta.toml:6: signing.keys[0].file: no.pem: is not a private key")


@pytest.mark.skipif(os.geteuid() != 0, reason="for root only")
def test_workers_as_root_are_noted(folder: Path) -> None:
    assert any("server.user: the workers" in line for line in told(folder, "[web]\nport = 1\n", NOTE))
    assert not any("server.user" in line for line in told(folder, '[server]\nuser = "nobody"\n', NOTE))


def test_an_address_that_this_machine_lacks(folder: Path) -> None:
    ours = ("127.0.0.1", "203.0.113.9", "2001:db8::9")
    text = "".join(f'[[egress.sources]]\nname = "s{n}"\naddress = "{each}"\n' for n, each in enumerate(ours))
    assert told(folder, text) == []
    assert [line.partition(" (")[0] for line in told(folder, text, WARNING)] == [
        "mta.toml:6: egress.sources[1].address: this machine has no address 203.0.113.9",
        "mta.toml:9: egress.sources[2].address: this machine has no address 2001:db8::9",
    ]
    assert load_valid(folder / "mta.toml").remarks[0].endswith("add it to an interface")


def test_a_low_port_is_noted_for_users_who_cannot_bind_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = '[[submission.listeners]]\nport = 587\n[[submission.listeners]]\nport = 2525\n[server]\nuser = "nobody"\n'
    monkeypatch.setattr(environment_check, "_may_bind_low_ports", lambda: False)
    monkeypatch.setattr(environment_check, "_least_port", lambda: 1024)
    monkeypatch.setattr("os.geteuid", lambda: 1234)
    lines = [line for line in told(folder, text, NOTE) if "CAP_NET_BIND_SERVICE" in line]
    assert [line.partition(" needs")[0] for line in lines] == ["mta.toml:2: submission.listeners[0].port: port 587"]


@pytest.mark.parametrize("content", ["", "  \n"])
def test_an_empty_password(content: str, folder: Path) -> None:
    private(folder / "password", content.encode())
    text = (
        '[[routes]]\ndomains = ["*"]\nhosts = ["relay.example"]\ntls = "required"\nusername = "u"\n'
        'password_file = "password"\n'
    )
    assert told(folder, text) == ["mta.toml:6: routes[0].password_file: password: is empty; write the password into it"]


def test_names_of_other_things_have_their_lines(folder: Path) -> None:
    text = '[policy]\ndefault_profile = "ours"\n[[suppression.soft_bounces]]\ncategory = "mailbox_ful"\n'
    lines = told(folder, text)
    assert [line.partition(": there is no")[0] for line in lines] == [
        "mta.toml:2: policy.default_profile",
        "mta.toml:4: suppression.soft_bounces[0].category",
    ]


def test_mistakes_of_all_kinds_are_told_together(folder: Path) -> None:
    (folder / "file").touch()
    (folder / "own.toml").write_text('extends = "csa"\nabuot = "ours"\n')
    (folder / "mta.toml").write_text(
        "[server]\nhostname = mail.shop.example\n"  # no TOML
        'data_dir = "file"\n'  # this machine
        "[web]\nports = 1\n"  # no key
        "[queue]\npoll = 5\n"  # no value
        '[dns]\nmin_ttl = "2h"\n'  # no sense
        '[submission.tls]\ncertificate = "none.pem"\nkey = "none.pem"\n'  # no file
        '[policy]\nprofiles = ["own.toml"]\n'  # a mistake in it
    )
    with pytest.raises(ConfigError) as caught:
        load_valid(folder / "mta.toml")
    places = [line.replace(f"{folder}/", "").partition(": ")[0] for line in caught.value.lines]
    assert places == [*(f"mta.toml:{n}" for n in (2, 3, 5, 7, 9, 11, 12)), "own.toml:2"]


# --- certificates


def certificate(
    folder: Path, *names: str, since: timedelta = -DAY, until: timedelta = 90 * DAY, name: str = "cert.pem"
) -> rsa.RSAPrivateKey:
    """Write a certificate, and its key beside it."""
    key, now = key_file(folder, name.replace("cert", "key")), datetime.now(UTC)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "common.example")])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now + since)
        .not_valid_after(now + until)
    )
    if names:
        san = x509.SubjectAlternativeName([x509.DNSName(each) for each in names])
        builder = builder.add_extension(san, critical=False)
    (folder / name).write_bytes(builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM))
    return key


def pair(table: str, certificate: str = "cert.pem", key: str = "key.pem") -> str:
    host = '[server]\nhostname = "mail.shop.example"\nuser = "nobody"\n'
    more = 'url = "https://mail.shop.example"\nport = 8443\n' if table == "web.public" else ""
    return f'[{table}]\ncertificate = "{certificate}"\nkey = "{key}"\n{more}{host}'


TABLES = pytest.mark.parametrize("table", ["submission.tls", "web.public"])


def about_certificates(lines: list[str]) -> list[str]:
    return [line for line in lines if ".certificate: " in line or ".key: " in line]


@TABLES
@pytest.mark.parametrize("names", [("mail.shop.example",), ("x.example", "MAIL.shop.example"), ("*.shop.example",)])
def test_a_good_certificate(table: str, names: tuple[str, ...], folder: Path) -> None:
    certificate(folder, *names)
    text = pair(table)
    assert about_certificates([*told(folder, text), *told(folder, text, NOTE)]) == []


@TABLES
@pytest.mark.parametrize(
    ("names", "dates", "why"),
    [
        (("mail.shop.example",), {"since": -30 * DAY, "until": -DAY}, "expired "),
        (("mail.shop.example",), {"since": DAY}, "is not valid before "),
        (("mail.shop.example",), {"until": 2 * DAY}, "expires "),
        (("other.example.org",), {}, "is for other.example.org, not for mail.shop.example"),
        (("*.mail.shop.example",), {}, "is for *.mail.shop.example, not for mail.shop.example"),
        (("*.example",), {}, "is for *.example, not for mail.shop.example"),
        ((), {}, "is for common.example (as common name only), not for mail.shop.example"),
    ],
)
def test_what_clients_will_not_accept_is_noted(
    table: str, names: tuple[str, ...], dates: dict[str, timedelta], why: str, folder: Path
) -> None:
    certificate(folder, *names, **dates)
    text = pair(table)
    assert told(folder, text) == []
    (line,) = about_certificates(told(folder, text, NOTE))
    assert line.startswith(f"mta.toml:2: {table}.certificate: cert.pem: {why}")
    assert any(why in remark for remark in load_valid(folder / "mta.toml").remarks)  # what is logged


@TABLES
def test_a_key_that_does_not_belong_to_it(table: str, folder: Path) -> None:
    certificate(folder, "mail.shop.example")
    key_file(folder, "other.pem")
    (line,) = told(folder, pair(table, key="other.pem"))
    assert line.startswith(f"mta.toml:3: {table}.key: other.pem: does not belong to cert.pem")


@TABLES
def test_a_chain_in_the_wrong_order(table: str, folder: Path) -> None:
    certificate(folder, "ca.example", name="cert-ca.pem")
    certificate(folder, "mail.shop.example")
    chain = (folder / "cert-ca.pem").read_bytes() + (folder / "cert.pem").read_bytes()
    (folder / "chain.pem").write_bytes(chain)
    (line,) = told(folder, pair(table, "chain.pem"))
    assert line.startswith(f"mta.toml:3: {table}.key: key.pem: belongs to a later certificate in chain.pem")


@TABLES
@pytest.mark.parametrize(
    ("file", "octets", "place", "why"),
    [
        ("cert.pem", b"nothing", "2: {}.certificate: cert.pem: ", "holds no certificate in PEM format"),
        ("key.pem", b"nothing", "3: {}.key: key.pem: ", "holds no private key in PEM format"),
    ],
)
def test_a_file_that_holds_something_else(
    table: str, file: str, octets: bytes, place: str, why: str, folder: Path
) -> None:
    certificate(folder, "mail.shop.example")
    private(folder / file, octets)
    (line,) = told(folder, pair(table))
    assert line.startswith(f"mta.toml:{place.format(table)}{why}")

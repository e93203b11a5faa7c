"""STARTTLS with receivers as they are: encrypted if it works, plain text if it does not, verified where it must be."""

import datetime
import ssl
from pathlib import Path

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

from mta.mail.delivery import Stage as Reached
from mta.testing.script import FRIENDLY, AfterReply, ReceiverStage, Script, ScriptedReply, ScriptRule, say
from tests.flow.far_end import FarEnd, far_end, replies
from tests.flow.legacy_receiver import LIBRARY, LegacyReceiver


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def served(certificate: trustme.LeafCert) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    return context


@pytest.fixture
def trusted(authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
    """A valid certificate for mx1.example.com, whose authority our side trusts."""
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    return served(authority.issue_cert("mx1.example.com"))


def weak(tmp_path: Path) -> ssl.SSLContext:
    """Self-signed, expired, another name, 1,024 bits, TLS 1.2: what the net is full of."""
    key = rsa.generate_private_key(65537, 1024)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "other.example")])
    then = datetime.datetime(2020, 1, 1)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(then)
        .not_valid_after(then + datetime.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path = tmp_path / "weak.pem"
    path.write_bytes(pem + certificate.public_bytes(serialization.Encoding.PEM))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(path)
    return context


def starttls(context: ssl.SSLContext, *acts: ScriptedReply, **fields) -> Script:
    rules = (ScriptRule(ReceiverStage.STARTTLS, "*", acts),) if acts else ()
    return Script(tls=context, rules=rules, **fields)


async def test_encrypted_where_it_is_offered(trusted: ssl.SSLContext) -> None:
    async with far_end() as far:
        receiver = await far.receiver(starttls(trusted))
        attempt = await far.deliver("bob@example.com")
        assert replies(attempt) == {"bob": "250 2.0.0"}
        assert attempt.host is not None
        assert attempt.host.tls == "TLSv1.3"
        assert receiver.ledger.receipts[0].tls == "TLSv1.3"
        assert [line for _, line in receiver.ledger.commands[:3]] == [
            "EHLO out.sender.example", "STARTTLS", "EHLO out.sender.example",
        ]  # fmt: skip
        assert (await far.deliver("bob@example.com")).host == attempt.host
        assert receiver.ledger.connections == 1


async def test_no_certificate_is_too_bad_for_opportunistic_tls(tmp_path: Path) -> None:
    async with far_end() as far:
        await far.receiver(starttls(weak(tmp_path)))
        attempt = await far.deliver("bob@example.com")
        assert replies(attempt) == {"bob": "250 2.0.0"}
        assert attempt.host is not None
        assert attempt.host.tls == "TLSv1.2"


async def test_not_used_if_switched_off(trusted: ssl.SSLContext) -> None:
    async with far_end(shaping={"default": {"tls": "none"}}) as far:
        receiver = await far.receiver(starttls(trusted))
        await far.deliver("bob@example.com")
        assert receiver.ledger.receipts[0].tls is None
        assert "STARTTLS" not in [line for _, line in receiver.ledger.commands]
        assert far.counts.take() == ()  # nothing for a TLS report: TLS was not tried


BROKEN = {
    "garbage": ScriptedReply(reply=b"\x00\xff\r\n"),
    "an empty line": ScriptedReply(reply=b"\r\n220 go\r\n"),
    "an indented line": ScriptedReply(reply=b" 220 go\r\n"),
    "closed": ScriptedReply(reply=b"", end=AfterReply.CLOSE),
    "hung": ScriptedReply(reply=b"", end=AfterReply.HANG),
    "closed in the handshake": say("220 go", end=AfterReply.CLOSE),
    "reset in the handshake": say("220 go", end=AfterReply.RESET),
    "hung in the handshake": say("220 go", end=AfterReply.HANG),
    "garbage in the handshake": ScriptedReply(reply=b"220 go\r\n", end=AfterReply.FLOOD),
}


@pytest.mark.parametrize("act", BROKEN.values(), ids=BROKEN.keys())
async def test_broken_tls_means_a_new_session_in_plain_text(act: ScriptedReply, trusted: ssl.SSLContext) -> None:
    async with far_end(egress={"timeouts": {"starttls": "200ms"}}) as far:
        receiver = await far.receiver(starttls(trusted, act))
        attempt = await far.deliver("bob@example.com")
        assert replies(attempt) == {"bob": "250 2.0.0"}
        assert attempt.host is not None
        assert attempt.host.tls is None
        assert receiver.ledger.connections == 2
        await far.courier._pool.close()
        await far.deliver("bob@example.com")  # it is remembered
        assert receiver.ledger.connections == 3
        assert [line for _, line in receiver.ledger.commands].count("STARTTLS") == 1


async def test_454_to_starttls_goes_on_in_plain_text(trusted: ssl.SSLContext) -> None:
    async with far_end() as far:
        receiver = await far.receiver(starttls(trusted, say("454 4.7.0 TLS not available"), FRIENDLY))
        assert replies(await far.deliver("bob@example.com")) == {"bob": "250 2.0.0"}
        assert receiver.ledger.connections == 1
        await far.courier._pool.close()
        await far.deliver("bob@example.com")
        assert [receipt.tls for receipt in receiver.ledger.receipts] == [None, "TLSv1.3"]


async def test_a_client_certificate_is_asked_for_too_late(authority: trustme.CA) -> None:
    """In TLS 1.3 the receiver's refusal comes when our side of the handshake is over."""
    context = served(authority.issue_cert("mx1.example.com"))
    context.verify_mode = ssl.CERT_REQUIRED
    async with far_end() as far:
        receiver = await far.receiver(starttls(context))
        assert replies(await far.deliver("bob@example.com")) == {"bob": "250 2.0.0"}
        assert receiver.ledger.receipts[0].tls is None


async def test_plain_text_behind_the_220_is_forgotten(trusted: ssl.SSLContext) -> None:
    """Injected before TLS, executed in TLS (CVE-2011-0411): the EHLO that counts is the one under TLS."""
    injected = ScriptedReply(reply=b"220 go\r\n250-EVIL\r\n250 SIZE 1\r\n250 2.1.0 sender ok\r\n")
    async with far_end() as far:
        receiver = await far.receiver(starttls(trusted, injected))
        attempt = await far.deliver("bob@example.com")
        assert replies(attempt) == {"bob": "250 2.0.0"}
        assert attempt.host is not None
        assert attempt.host.tls == "TLSv1.3"
        assert attempt.transcript is None
        assert len(receiver.ledger.receipts) == 1


@pytest.mark.skipif(LIBRARY is None, reason="needs libgnutls: OpenSSL cannot be without RFC 5746")
async def test_a_receiver_without_rfc_5746_is_encrypted_unless_it_must_be_verified(
    authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    issued = authority.issue_cert("mx1.example.com")
    issued.cert_chain_pems[0].write_to_path(str(tmp_path / "cert.pem"))
    issued.private_key_pem.write_to_path(str(tmp_path / "key.pem"))
    legacy = LegacyReceiver(tmp_path / "cert.pem", tmp_path / "key.pem")
    async with far_end() as far:
        await far.receiver(address="127.0.0.3")
        far.port = legacy.port
        far.configure()
        attempt = await far.deliver("bob@example.com")
        assert replies(attempt) == {"bob": "250 2.0.0"}
        assert attempt.host is not None
        assert attempt.host.tls == "TLSv1.2"
        assert legacy.encrypted == [True]
        far.configure(shaping={"default": {"tls": "required"}})
        attempt = await far.deliver("bob@example.com")
        assert replies(attempt) == {"bob": "451 4.7.5"}
        assert "legacy" in attempt.results[0].reply.text
        assert legacy.encrypted == [True]
    legacy.close()


# --- smart hosts: verified


async def route(far: FarEnd, tls: str, tmp_path: Path, host: str = "mx1.example.com", **more: str) -> None:
    far.zone[host] = far.zone["mx1.example.com"]
    static = {"domains": ["*"], "hosts": [f"{host}:{far.port}"], "tls": tls, **more}
    far.configure(routes=[static])


@pytest.mark.parametrize("tls", ["required", "implicit"])
async def test_a_valid_certificate_is_enough(tls: str, trusted: ssl.SSLContext, tmp_path: Path) -> None:
    async with far_end() as far:
        receiver = await far.receiver(starttls(trusted, implicit_tls=tls == "implicit"))
        await route(far, tls, tmp_path)
        attempt = await far.deliver("bob@anywhere.example")
        assert replies(attempt) == {"bob": "250 2.0.0"}
        assert receiver.ledger.receipts[0].tls == "TLSv1.3"


@pytest.mark.parametrize("tls", ["required", "implicit"])
async def test_another_name_is_not_good_enough(tls: str, trusted: ssl.SSLContext, tmp_path: Path) -> None:
    async with far_end() as far:
        receiver = await far.receiver(starttls(trusted, implicit_tls=tls == "implicit"))
        await route(far, tls, tmp_path, "other.example.com")
        attempt = await far.deliver("bob@anywhere.example")
        assert replies(attempt) == {"bob": "451 4.7.5"}
        assert attempt.results[0].stage is Reached.TLS
        assert "certificate" in attempt.results[0].reply.text.lower()
        assert receiver.ledger.receipts == []


@pytest.mark.parametrize("tls", ["required", "implicit"])
async def test_an_unknown_authority_is_not_good_enough(tls: str, tmp_path: Path, trusted: ssl.SSLContext) -> None:
    async with far_end() as far:
        await far.receiver(starttls(weak(tmp_path), implicit_tls=tls == "implicit"))
        await route(far, tls, tmp_path)
        attempt = await far.deliver("bob@anywhere.example")
        assert replies(attempt) == {"bob": "451 4.7.5"}
        assert attempt.results[0].stage is Reached.TLS


@pytest.mark.parametrize(
    ("script", "status"),
    [
        (lambda context: Script(), "4.7.4"),  # no STARTTLS
        (lambda context: starttls(context, say("454 4.7.0 not now")), "4.7.4"),
        (lambda context: starttls(context, say("220 go", end=AfterReply.CLOSE)), "4.7.5"),
        (lambda context: starttls(context, ScriptedReply(reply=b"", end=AfterReply.CLOSE)), "4.4.2"),
    ],
)
async def test_required_is_never_plain_text(script, status: str, trusted: ssl.SSLContext, tmp_path: Path) -> None:
    async with far_end() as far:
        receiver = await far.receiver(script(trusted))
        await route(far, "required", tmp_path)
        attempt = await far.deliver("bob@anywhere.example")
        assert replies(attempt) == {"bob": f"451 {status}"}
        assert receiver.ledger.receipts == []
        assert not [line for _, line in receiver.ledger.commands if line.startswith("MAIL")]


async def test_implicit_tls_where_plain_text_is_spoken(trusted: ssl.SSLContext, tmp_path: Path) -> None:
    async with far_end() as far:
        await far.receiver(Script())
        await route(far, "implicit", tmp_path)
        attempt = await far.deliver("bob@anywhere.example")
        assert replies(attempt) == {"bob": "451 4.7.5"}

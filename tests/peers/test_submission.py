"""Mail handed in by the clients that people use: smtplib, swaks, Postfix's smtp-source."""

from __future__ import annotations

import asyncio
import os
import re
import smtplib
import ssl
import subprocess
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from typing import Any

import pytest

from bench import programs
from tests.flow.harness import World

MESSAGES = int(os.environ.get("PEER_MESSAGES", "500"))  # the nightly target sends 10,000

pytestmark = pytest.mark.peer


@pytest.fixture
async def login(world: World) -> tuple[str, str]:
    """User name and secret of an account whose domain is shop.example."""
    world.service.configure()
    output = await asyncio.to_thread(
        world.service.cli,
        "account",
        "add",
        "web",
        "--domain",
        "shop.example",
        "--approve",
        "a test",
        "--verified",
    )
    user, secret = re.search(r"user name +(\S+)", output), re.search(r"secret +(\S+)", output)
    assert user, output
    assert secret, output
    return user[1], secret[1]


def listeners(world: World, **more: Any) -> dict[str, Any]:
    return {"submission": {"listeners": [{"address": "127.0.0.1", "port": world.service.port, **more}]}}


def letter() -> EmailMessage:
    letter = EmailMessage()
    letter["From"], letter["To"], letter["Subject"] = "Shop <web@shop.example>", "ann@example.com", "Grüße"
    letter.set_content("Your order is on its way. Grüße!\n")
    letter.add_alternative("<p>Your order is on its <b>way</b>.</p>", subtype="html")
    return letter


def encrypted_but_unverified() -> ssl.SSLContext:
    """For the certificate that the service makes itself."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


async def test_smtplib_starttls(world: World, login: tuple[str, str]) -> None:
    def send() -> None:
        with smtplib.SMTP("127.0.0.1", world.service.port) as smtp:
            smtp.starttls(context=encrypted_but_unverified())
            smtp.login(*login)
            assert smtp.has_extn("futurerelease")
            smtp.send_message(letter(), mail_options=["HOLDFOR=1", "BY=60;R", "MT-PRIORITY=-2"])

    await world.start(**listeners(world, tls="starttls"))
    began = time.monotonic()
    await asyncio.to_thread(send)
    [receipt] = await world.received(1)
    assert time.monotonic() - began > 1
    assert b"PRIORITY -2;" in receipt.content
    assert receipt.sender.address == "web@shop.example"
    assert b"with ESMTPSA id" in receipt.content
    assert letter().get_body(("html",)).get_content().strip().encode() in receipt.content  # type: ignore[union-attr]


async def test_smtplib_implicit_tls(world: World, login: tuple[str, str]) -> None:
    def send() -> None:
        with smtplib.SMTP_SSL("127.0.0.1", world.service.port, context=encrypted_but_unverified()) as smtp:
            smtp.login(*login)
            smtp.send_message(letter())

    await world.start(**listeners(world, tls="implicit"))
    await asyncio.to_thread(send)
    assert len(await world.received(1)) == 1


async def test_smtplib_wrong_password(world: World, login: tuple[str, str]) -> None:
    def send() -> None:
        with smtplib.SMTP_SSL("127.0.0.1", world.service.port, context=encrypted_but_unverified()) as smtp:
            smtp.login(login[0], "wrong")

    await world.start(**listeners(world, tls="implicit"))
    with pytest.raises(smtplib.SMTPAuthenticationError) as refused:
        await asyncio.to_thread(send)
    assert refused.value.smtp_code == 535


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN"])
async def test_swaks(world: World, login: tuple[str, str], mechanism: str) -> None:
    swaks = programs.find("swaks")
    if swaks is None:
        pytest.skip("swaks: not installed (make peers unpacks it)")
    await world.start(**listeners(world, tls="none", auth_without_tls="loopback"))
    command = [str(swaks), "--server", "127.0.0.1", "--port", str(world.service.port), "--auth", mechanism]
    command += ["--auth-user", login[0], "--auth-password", login[1]]
    command += ["--from", "web@shop.example", "--to", "ann@example.com", "--header", "Subject: by swaks"]
    release = datetime.now(UTC) + timedelta(seconds=3)
    command += ["--add-header", f"X-MTA-Send-At: {release:%Y-%m-%dT%H:%M:%SZ}"]
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    [receipt] = await world.received(1)
    assert b"Subject: by swaks" in receipt.content
    assert b"X-MTA" not in receipt.content
    assert datetime.now(UTC) >= release.replace(microsecond=0)


async def test_smtp_source(world: World) -> None:
    """Twenty sessions at once: each message accepted arrives once."""
    source = programs.find("smtp-source")
    if source is None:
        pytest.skip("smtp-source: not installed (make peers unpacks it)")
    await world.start(server={"workers": 2})
    (world.directory / "main.cf").touch()
    environment = {**programs.environment(), "MAIL_CONFIG": str(world.directory)}
    command = [str(source), "-s", "20", "-m", str(MESSAGES), "-l", "10240", "-N", "-d"]
    command += ["-f", "ann@sender.example", "-t", "user@example.com", f"127.0.0.1:{world.service.port}"]
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    copies = Counter(receipt.recipients[0].address for receipt in await world.received(MESSAGES))
    assert len(copies) == MESSAGES
    assert set(copies.values()) == {1}

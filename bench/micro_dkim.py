"""CPU cost of a DKIM signature, in microseconds per message, compared with ``dkim.sign``.

    python -m bench.micro_dkim [--seconds 1]

"preparing" is everything but the private key operation. Bodies are synthetic: prose (single spaces), HTML (indented,
the most expensive for relaxed canonicalization) and base64.

Limitations: One process, hot caches. The best of several rounds is shown, so other load matters little.
"""

from __future__ import annotations

import argparse
import base64
import random
import time
from collections.abc import Callable

import dkim

from config.schema import SigningSettings
from mta.dkim import KeyRing, Signer
from mta.dkim.keys import Algorithm, SigningKey, new_pem, parse_key
from mta.mail.headers import Headers

SIZES = (10_000, 60_000)
HEADER = b"""\
Received: from app.example.com ([192.0.2.7])\r
\tby mail.example.com with ESMTPSA id 01jd8z6n7q3m5v9x2k4t6w8y0a;\r
\tMon, 3 Mar 2025 09:30:00 +0000\r
From: Example News <news@example.com>\r
To: Ann Onymous <ann@example.net>\r
Reply-To: service@example.com\r
Subject: =?utf-8?q?Your_weekly_letter_=E2=80=93_and_what_came_of_the_last_one?=\r
Date: Mon, 3 Mar 2025 09:30:00 +0000\r
Message-ID: <20250303093000.1234567890@news.example.com>\r
MIME-Version: 1.0\r
Content-Type: text/html; charset="utf-8"\r
Content-Transfer-Encoding: 8bit\r
List-Id: <news.example.com>\r
List-Unsubscribe: <https://example.com/u/0123456789abcdef0123456789abcdef>,\r
\t<mailto:unsubscribe@example.com?subject=0123456789abcdef>\r
List-Unsubscribe-Post: List-Unsubscribe=One-Click\r
Feedback-ID: 4711:news:example:1\r
X-Mailer: Example 1.0\r
\r
"""


class _NoOperation:
    """A private key whose operation costs nothing."""

    def sign(self, *_: object) -> bytes:
        return bytes(256)


def bodies(size: int) -> dict[str, bytes]:
    chance = random.Random(size)
    words = [bytes(chance.choices(b"etaoinshrdlu", k=chance.randint(2, 9))) for _ in range(500)]

    def lines(line: Callable[[], bytes]) -> bytes:
        text = b""
        while len(text) < size:
            text += line() + b"\r\n"
        return text

    def prose() -> bytes:
        return b" ".join(chance.choices(words, k=11))

    def html() -> bytes:
        return b" " * (2 * chance.randint(0, 8)) + b'<td class="x" style="color: red">' + prose()[:40] + b"</td>"

    def coded() -> bytes:
        return base64.b64encode(chance.randbytes(57))

    return {"prose": lines(prose), "html": lines(html), "base64": lines(coded)}


def cost(work: Callable[[], object], seconds: float) -> float:
    """Return the CPU microseconds per call, best of five rounds."""
    best = float("inf")
    for _ in range(5):
        calls, started, ends = 0, time.process_time(), time.perf_counter() + seconds / 5
        while time.perf_counter() < ends:
            work()
            calls += 1
        best = min(best, (time.process_time() - started) / calls)
    return best * 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=1.0, help="seconds per measurement")
    seconds = parser.parse_args().seconds

    pem, seed = new_pem(Algorithm.RSA), bytes(range(32))
    rsa = parse_key(pem, domain="example.com", selector="rsa", source="bench")
    ed25519 = parse_key(new_pem(Algorithm.ED25519), domain="example.com", selector="ed", source="bench")
    free = SigningKey("example.com", "rsa", _NoOperation(), "bench")  # type: ignore[arg-type]
    settings = SigningSettings()
    signers = {
        "preparing": Signer(settings, KeyRing([free])),
        "rsa": Signer(settings, KeyRing([rsa])),
        "ed25519": Signer(settings, KeyRing([ed25519])),
        "both": Signer(settings, KeyRing([rsa, ed25519])),
    }
    columns = [*signers, "dkim.sign rsa", "dkim.sign ed25519"]
    print(f"{'us per message':16}" + "".join(f"{column:>19}" for column in columns))
    for size in SIZES:
        for kind, body in bodies(size).items():
            message = HEADER + body
            headers = Headers.split(message)
            works: list[Callable[[], object]] = [
                lambda signer=signer, message=message, headers=headers: signer.sign(
                    headers, message[headers.size :], "example.com"
                )
                for signer in signers.values()
            ]
            names = [name for name, _ in headers.fields if name != b"received"]
            for algorithm, key in ((b"rsa-sha256", pem), (b"ed25519-sha256", base64.b64encode(seed))):
                works.append(
                    lambda message=message, names=names, algorithm=algorithm, key=key: dkim.sign(
                        message,
                        b"rsa",
                        b"example.com",
                        key,
                        canonicalize=(b"relaxed", b"relaxed"),
                        signature_algorithm=algorithm,
                        include_headers=names,
                    )
                )
            print(
                f"{size // 1000} kB {kind:10}" + "".join(f"{cost(work, seconds):19.0f}" for work in works), flush=True
            )


if __name__ == "__main__":
    main()

"""CPU cost of the marketing chain, in microseconds per message, in total and by rule.

    python -m bench.micro_policy [--profiles cleverreach csa] [--seconds 1]

The message is that of ``bench.newsletter``, with one recipient and all facts known; it must pass. *total*: all rules of
the profile including reading, as submission runs them (shared rules, then those per recipient). *reading*: decoding the
message, once for all rules; the time of each rule is measured without it. *with a reference*: the total for a message
that matches a confirmed one, the comparison included.

Limits are 250 us for 10 kB and 500 us for 60 kB on the reference machine, whose cores make 2,300 to 3,700 RSA-2048
signatures per second. The rate of this machine is measured too, and the total is converted.

Each result is that of the fastest of many calls, for the signatures too.

Limitations: One process, hot caches, no garbage collection. Signatures measure a processor's arithmetic, not its
memory: the results for the reference machine are estimates.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import replace

from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256

from bench.newsletter import CONTEXT, NOW, READER, facts, newsletter
from mta.mail.message import Message, Stream
from policy.base import Facts
from policy.chain import Chain, Screened, personalise, screen
from policy.mailing.reference import Matched, ReadMessage, References, compile_reference, source_of
from policy.plugins import installed
from policy.profile import Profiles
from policy.text.message_text import MessageText

ALLOWED = {10_000: 250, 60_000: 500}  # bytes: microseconds on the reference machine
REFERENCE = (2300, 3700)  # its signatures per second and core
EVERY = "every"  # not a profile: all rules, with default settings


def cost(work: Callable[[], object], seconds: float) -> float:
    """Return the microseconds of the fastest call."""
    best, ends = float("inf"), time.perf_counter() + seconds
    while (started := time.perf_counter()) < ends:
        work()
        best = min(best, time.perf_counter() - started)
    return best * 1e6


def chain_of(profile: str) -> Chain:
    """Return the marketing chain of a shipped profile, or of all rules."""
    if profile == EVERY:
        return Chain([rule(rule.Settings(), CONTEXT) for _, rule in sorted(installed().classes.items())])
    chain = Profiles.shipped(CONTEXT).chain(profile, Stream.MARKETING)
    assert chain is not None, f"{profile} has no marketing"
    return chain


def whole(chain: Chain, message: Message, known: Facts) -> tuple[Screened, Screened]:
    """Run the chain as submission does for a message with one recipient."""
    shared = screen(chain, message, known, NOW)
    return shared, personalise(chain, shared.message, known, NOW)


def must_pass(chain: Chain, message: Message, known: Facts) -> None:
    for screened in whole(chain, message, known):
        wrong = [screened.refusal, *screened.holds, *screened.errors]
        assert not any(wrong), f"the newsletter does not pass: {wrong}"


def signatures(seconds: float) -> float:
    """Return the RSA-2048 signatures per second on this machine."""
    key = rsa.generate_private_key(65537, 2048)
    return 1e6 / cost(lambda: key.sign(b"x" * 32, padding.PKCS1v15(), SHA256()), seconds)


def with_reference(references: References, message: Message, known: Facts) -> Facts:
    """Return the facts of a message that was just compared."""
    reading = MessageText(message.content)
    compared = references.compare(ReadMessage.of(message.headers, reading, message.size, [READER]))
    assert isinstance(compared, Matched)
    return replace(known, reading=reading, reference=compared)


def measure(chain: Chain, size: int, seconds: float) -> tuple[float, float, dict[str, float]]:
    """Return the microseconds in total, those with a matching reference, and those of each rule without reading the
    message."""
    message = newsletter(size)
    known = facts(message)
    must_pass(chain, message, known)  # which reads it for ``known``
    rules = {}
    for rule in chain.rules:
        alone = Chain([rule])
        work: Callable[[], object] = lambda alone=alone: whole(alone, message, known)  # type: ignore[misc]  # noqa: E731
        rules[rule.name] = cost(work, seconds / 4)
    read = cost(lambda: whole(chain, message, known), seconds)
    fresh = cost(lambda: whole(chain, message, replace(known, reading=MessageText(message.content))), seconds)
    nothing = cost(lambda: whole(Chain(), message, known), seconds / 4)
    references = References((compile_reference(1, source_of(message.content)),))
    matched = cost(lambda: whole(chain, message, with_reference(references, message, known)), seconds)
    return fresh, matched, {"reading": fresh - read, **{name: max(0.0, us - nothing) for name, us in rules.items()}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--profiles", nargs="+", default=["cleverreach", "csa"], help=f"names, or {EVERY}")
    parser.add_argument("--seconds", type=float, default=1.0, help="seconds per measurement")
    options = parser.parse_args()
    here = signatures(options.seconds)
    print(
        f"RSA-2048 signatures per second and core: {here:,.0f} here, "
        f"{REFERENCE[0]:,} to {REFERENCE[1]:,} on the reference"
    )
    for profile in options.profiles:
        chain = chain_of(profile)
        figures = {size: measure(chain, size, options.seconds) for size in ALLOWED}
        print(f"\n{f'{profile}, us per message':24}" + "".join(f"{size // 1000:>7} kB" for size in figures))
        for name in next(iter(figures.values()))[2]:
            print(f"  {name:22}" + "".join(f"{rules[name]:10.1f}" for _, _, rules in figures.values()))
        for n, what in enumerate(("total", "with a reference")):
            print(f"{f'{what}, here':28}" + "".join(f"{each[n]:8.0f}  " for each in figures.values()))
            for rate in REFERENCE:
                at = "".join(f"{each[n] * here / rate:8.0f}  " for each in figures.values())
                print(f"{f'{what}, at {rate:,}':28}{at}")
        print(f"{'limit':24}" + "".join(f"{us:10}" for us in ALLOWED.values()), flush=True)


if __name__ == "__main__":
    main()

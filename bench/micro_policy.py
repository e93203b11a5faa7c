"""What the marketing chain costs, in microseconds a message, whole and rule by rule.

    python -m bench.micro_policy [--profiles cleverreach csa] [--seconds 1]

The message is ``bench.newsletter``'s, with one recipient and every fact there; it must pass. *whole*: all rules of the
profile, reading included, as the intake runs them (shared rules, then the personal ones). *reading*: what of that is
spent on decoding the message, once for all rules; each rule's own figure is measured with that done.

Allowed are 250 us for 10 kB and 500 us for 60 kB on the reference machine, a core of which signs 2,300 to 3,700
RSA-2048 a second; what this one signs is measured beside, and the whole is shown as it would be there.

Each figure is that of the quickest of many calls, the signature's too: what it costs when nothing disturbs it.

*Limits.* One process, hot caches, no garbage collected. Signatures tell a processor's arithmetic, not its memory: the
figures for the reference machine are estimates.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import replace

from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256

from bench.newsletter import CONTEXT, NOW, facts, newsletter
from mta.mail.message import Message, Stream
from policy.base import Facts
from policy.chain import Chain, Screened, personalise, screen
from policy.plugins import installed
from policy.profile import Profiles
from policy.text.message_text import MessageText

ALLOWED = {10_000: 250, 60_000: 500}  # octets: microseconds on the reference machine
REFERENCE = (2300, 3700)  # its signatures a second and core
EVERY = "every"  # not a profile: all rules there are, as they come


def cost(work: Callable[[], object], seconds: float) -> float:
    """Microseconds of the quickest call."""
    best, ends = float("inf"), time.perf_counter() + seconds
    while (started := time.perf_counter()) < ends:
        work()
        best = min(best, time.perf_counter() - started)
    return best * 1e6


def chain_of(profile: str) -> Chain:
    """The marketing chain of a shipped profile, or of all rules."""
    if profile == EVERY:
        return Chain([rule(rule.Settings(), CONTEXT) for _, rule in sorted(installed().classes.items())])
    chain = Profiles.shipped(CONTEXT).chain(profile, Stream.MARKETING)
    assert chain is not None, f"{profile} has no marketing"
    return chain


def whole(chain: Chain, message: Message, known: Facts) -> tuple[Screened, Screened]:
    """What the intake does with a message for one recipient."""
    shared = screen(chain, message, known, NOW)
    return shared, personalise(chain, shared.message, known, NOW)


def must_pass(chain: Chain, message: Message, known: Facts) -> None:
    for screened in whole(chain, message, known):
        wrong = [screened.refusal, screened.hold, *screened.errors]
        assert not any(wrong), f"the newsletter does not pass: {wrong}"


def signatures(seconds: float) -> float:
    """RSA-2048 signatures a second here."""
    key = rsa.generate_private_key(65537, 2048)
    return 1e6 / cost(lambda: key.sign(b"x" * 32, padding.PKCS1v15(), SHA256()), seconds)


def measure(chain: Chain, size: int, seconds: float) -> tuple[float, dict[str, float]]:
    """Microseconds: of the whole, and of each rule once the message has been read."""
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
    return fresh, {"reading": fresh - read, **{name: max(0.0, us - nothing) for name, us in rules.items()}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--profiles", nargs="+", default=["cleverreach", "csa"], help=f"their names, or {EVERY}")
    parser.add_argument("--seconds", type=float, default=1.0, help="time for each figure")
    options = parser.parse_args()
    here = signatures(options.seconds)
    print(f"one core signs {here:,.0f} RSA-2048 a second here, {REFERENCE[0]:,} to {REFERENCE[1]:,} on the reference")
    for profile in options.profiles:
        chain = chain_of(profile)
        figures = {size: measure(chain, size, options.seconds) for size in ALLOWED}
        print(f"\n{f'{profile}, us a message':24}" + "".join(f"{size // 1000:>7} kB" for size in figures))
        for name in next(iter(figures.values()))[1]:
            print(f"  {name:22}" + "".join(f"{rules[name]:10.1f}" for _, rules in figures.values()))
        print(f"{'whole, here':24}" + "".join(f"{us:10.0f}" for us, _ in figures.values()))
        for rate in REFERENCE:
            print(
                f"{f'at {rate:,} signatures':24}" + "".join(f"{us * here / rate:10.0f}" for us, _ in figures.values())
            )
        print(f"{'allowed':24}" + "".join(f"{us:10}" for us in ALLOWED.values()), flush=True)


if __name__ == "__main__":
    main()

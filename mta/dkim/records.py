"""The DNS record of a DKIM key: how to publish it, and how what is published differs (RFC 6376 3.6, RFC 8463 4.2).

``compare`` reads a record as strictly as a verifier does, so that "matches" means signatures will verify. The caller
looks up what is published.

Limitations: a granularity tag (``g=``, RFC 4871) is ignored, as RFC 6376 has it.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_der_public_key

from config.hosts import dkim_record_name
from mta.dkim.keys import SigningKey

MAX_STRING = 255  # octets of one character-string in a TXT record, RFC 1035 3.3


class RecordKind(Enum):
    """How a published record can differ from the key."""

    MISSING = "missing"
    SEVERAL = "several"
    UNREADABLE = "unreadable"
    REVOKED = "revoked"
    KEY_TYPE = "key-type"
    OTHER_KEY = "other-key"
    CUT_OFF = "cut-off"
    HASHES = "hashes"
    SERVICE = "service"
    TESTING = "testing"
    BARE_KEY = "bare-key"

    @property
    def breaks(self) -> bool:
        """Whether signatures fail because of it, with all verifiers or with some."""
        return self is not RecordKind.TESTING


@dataclass(frozen=True, slots=True)
class Difference:
    """``text``: one sentence, what is published and how to fix it."""

    kind: RecordKind
    text: str


def record_name(key: SigningKey) -> str:
    """Return the name of the record, without the dot at the end."""
    return dkim_record_name(key.selector, key.domain)


def record_text(key: SigningKey) -> str:
    """Return the text of the record, in one piece."""
    return f"v=DKIM1; k={key.algorithm.key_type}; p={base64.b64encode(key.public_octets()).decode()}"


def record_strings(key: SigningKey) -> list[str]:
    """Return the text in the strings of a TXT record; readers join them without a space (RFC 6376 3.6.2.2)."""
    text = record_text(key)
    return [text[at : at + MAX_STRING] for at in range(0, len(text), MAX_STRING)]


def zone_line(key: SigningKey) -> str:
    """Return the record as a line of a zone file."""
    strings = " ".join(f'"{piece}"' for piece in record_strings(key))
    return f"{record_name(key)}. IN TXT {strings}"


def compare(key: SigningKey, published: Sequence[str]) -> list[Difference]:
    """Return what keeps signatures with ``key`` from verifying; [] if nothing does.

    ``published``: the text of every TXT record at ``record_name(key)``, its strings joined.
    """
    if not published:
        return [Difference(RecordKind.MISSING, "there is no TXT record; publish it")]
    if len(published) > 1:
        right = sum(not any(found.kind.breaks for found in _read(key, text)) for text in published)
        advice = "keep the one with this key" if right == 1 else "keep one, with this key"
        return [
            Difference(
                RecordKind.SEVERAL,
                f"there are {len(published)} TXT records, so verifiers may take the wrong one; {advice}",
            )
        ]
    return _read(key, published[0])


def _read(key: SigningKey, text: str) -> list[Difference]:
    try:
        tags = _tags(text)
    except ValueError as error:
        return [Difference(RecordKind.UNREADABLE, f"the record cannot be read: {error}")]
    if tags["p"] == "":
        return [
            Difference(RecordKind.REVOKED, "p= is empty, so the key is revoked; make a new key with a new selector")
        ]
    return [*_usage(key, tags), *_key(key, tags["p"])]


def _tags(text: str) -> dict[str, str]:
    """Return the tags of a record that is well formed and has ``p=``. Raises ValueError."""
    if '"' in text or "\\" in text:
        raise ValueError("it contains quotation marks or backslashes, which do not belong to the text itself")
    from dkim import util as dkimpy  # noqa: PLC0415 - see mta.dkim.verifier

    try:
        tags = {name.decode(): value.decode() for name, value in dkimpy.parse_tag_value(text.encode()).items()}
    except dkimpy.DuplicateTag as error:
        raise ValueError(f"the tag {error.args[0].decode('ascii', 'replace')}= is there twice") from None
    except dkimpy.InvalidTagValueList as error:
        shown = error.args[0].decode("ascii", "replace")[:40]
        raise ValueError(f"{shown!r} is not of the form tag=value (tags are separated by semicolons)") from None
    if "v" in tags and (tags["v"] != "DKIM1" or next(iter(tags)) != "v"):
        raise ValueError(f"it says v={tags['v']}; the first tag must be v=DKIM1 (RFC 6376 3.6.1)")
    if "p" not in tags:
        raise ValueError("p= is missing")
    return tags


def _usage(key: SigningKey, tags: dict[str, str]) -> list[Difference]:
    """Check the tags that restrict what the key may be used for."""
    found = []
    key_type = tags.get("k", "rsa")
    if key_type != key.algorithm.key_type:
        said = f"k={key_type}" if "k" in tags else "no k=, which means rsa"
        found.append(Difference(RecordKind.KEY_TYPE, f"the record says {said}; the key is k={key.algorithm.key_type}"))
    if "h" in tags and "sha256" not in _listed(tags["h"]):
        found.append(Difference(RecordKind.HASHES, f"h={tags['h']} does not allow sha256; drop h="))
    if "s" in tags and not _listed(tags["s"]) & {"*", "email"}:
        found.append(Difference(RecordKind.SERVICE, f"s={tags['s']} does not allow email; drop s="))
    if "y" in _listed(tags.get("t", "")):
        found.append(
            Difference(RecordKind.TESTING, "t=y tells receivers that signatures are a test only; drop it when done")
        )
    return found


def _listed(value: str) -> set[str]:
    return {part.strip() for part in value.split(":")}


def _key(key: SigningKey, value: str) -> list[Difference]:
    published, ours = re.sub(r"\s+", "", value), base64.b64encode(key.public_octets()).decode()
    if published == ours:
        return []
    if ours.startswith(published):
        lengths = f"{len(published)} of {len(ours)} characters"
        return [
            Difference(
                RecordKind.CUT_OFF, f"p= is cut off ({lengths}); split the text into strings of {MAX_STRING} characters"
            )
        ]
    try:
        octets = base64.b64decode(published, validate=True)
    except binascii.Error:
        return [Difference(RecordKind.UNREADABLE, "p= is not base64; paste the record again")]
    if octets == key.public_octets():
        return []
    if _same_rsa_key(key, octets):
        return [
            Difference(
                RecordKind.BARE_KEY,
                "p= is this key as bare RSAPublicKey, which some verifiers cannot read; publish it as shown",
            )
        ]
    return [
        Difference(RecordKind.OTHER_KEY, "p= is another key; publish this one, or sign with the one that is published")
    ]


def _same_rsa_key(key: SigningKey, octets: bytes) -> bool:
    public = key.private.public_key()
    if not isinstance(public, RSAPublicKey):
        return False
    try:
        other = load_der_public_key(octets)
    except (ValueError, UnsupportedAlgorithm):
        return False
    return isinstance(other, RSAPublicKey) and other.public_numbers() == public.public_numbers()

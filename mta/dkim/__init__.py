"""Stage 2: DKIM signatures, the keys they are made with, and the DNS records of those keys."""

from mta.dkim.canonical import BodyHash
from mta.dkim.keyring import KeyRing
from mta.dkim.signer import Signer

__all__ = ["BodyHash", "KeyRing", "Signer"]

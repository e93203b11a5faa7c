"""Stage 2: the DKIM signatures of a message, the keys they are made with, and the DNS records of those keys."""

from mta.signing.ring import KeyRing
from mta.signing.signer import Signer

__all__ = ["KeyRing", "Signer"]

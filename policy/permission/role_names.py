"""Which local parts name a role instead of a person (``config/defaults/role_addresses.toml``)."""

from __future__ import annotations

import re
from functools import cache

from mta.mail.address import Address
from policy.wordlists import bare, shipped, spellings

_ESCAPE = re.compile(r"\\(.)")


def role_name(address: Address) -> str:
    """Return the name of the mailbox as roles are compared: bare, without quotes, sub-address and outer blanks."""
    local = address.local
    if local.startswith('"'):
        local = _ESCAPE.sub(r"\1", local[1:-1])
    return bare(local).partition("+")[0].strip()


@cache
def known_roles() -> frozenset[str]:
    """Return the roles of all languages."""
    return frozenset(spellings(name for names in shipped("role_addresses").values() for name in names))

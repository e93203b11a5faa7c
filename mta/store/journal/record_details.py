"""The part of a message's record that only we read: where it came from, and what the rules found.

It says nearly the same of every message, so it is deflated against a text of what it usually says: a fifth of the
octets, for a hundredth of a millisecond.

Invariants: what was packed once can be unpacked for ever: a dictionary never changes, a better one gets another number.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import AsyncIterator, Mapping
from typing import Any
from uuid import UUID

import orjson

from mta.store.postgres.database import Connection

_WINDOW, _MEMORY, _LEVEL = -13, 6, 1  # 8 KiB reach the dictionary from everywhere in a usual record
PAGE = 5000  # messages read at a time

# The end is what is reached most cheaply: what all records say comes last.
_FIRST = (
    b'"no scanner","nothing to look up","X-CSA-Complaints: csa-complaints@eco.de","csa","amend",".exam'
    b'ple ".com ".net"Voorbeeld GmbH B.V. Ltd.","vision","text_shows","refuse","hold","observe"],["rep'
    b'eated_text","pass","not repeated"],["frequency","pass","of at most "],["role_address","pass"," i'
    b's no role address"],["list_source","pass","list "],["blocklist","pass","not listed"],["obstacles'
    b'","pass","none"],["reference","pass","matches reference 1"],["confirmation","pass","mailing \\"\\"'
    b' confirmed by  at 2026- under version 1 of the terms"],["content","pass","nothing is marked"],["'
    b'terms","pass","version 1 accepted 2026- by "],["opt_in","pass","ledger entry : double_opt_in, co'
    b'nfirmed 2026-, until 2028-","single_opt_in","relation"],["unsubscribe","pass","shows https://www'
    b'."],["mailing_id","amend","X-Mailing-ID: 01"],["list_id","amend","List-Id: <"],["reply_address",'
    b'"pass","replies go to service@"],["freemail_from","pass","",": no freemail"],["subject_prefix","'
    b'pass","no prefix"],["display_name","pass","\\""],["hidden_text","pass","nothing hidden"],["confus'
    b'able_names","pass","2 fields"],["confusable_links","pass","1 links"],["feedback_id","amend","Fee'
    b'dback-ID: :1:marketing:imprimatur"],["imprint","pass","the legal notice of  shows in English","G'
    b'erman","French","Dutch"],["list_unsubscribe","amend","List-Unsubscribe: our own link, 2 addresse'
    b's"],["cfbl","amend","CFBL-Address: fbl@returns."],["dkim","pass","signed with ._domainkey."]],"m'
    b'arketing {"profile":"csa ","profile":"transactional ","expires_at":"2026-12-01T12:00:00.000000+0'
    b'0:00","origin":{"account":"","credential":null,"client":"","hello":"","session":"","protocol":"E'
    b'SMTPSA","ESMTPS","ESMTP","tls":"TLSv1.3","tls":null},"findings":[["account_state","pass"," is ac'
    b'tive"],["stream","pass","marketing allowed"],["stream","pass","transactional allowed"],["size","'
    b'pass"," octets"],["loops","pass","0 hops"],["headers","pass"," fields"],["sender_identity","pass'
    b'"," belongs to "],["suppressed","pass"," is not suppressed",""],["quota","pass","no quota"],["at'
    b'tachments","pass","0 attachments, 0 octets"],["scanned","pass","no scanner"],["links","pass","no'
    b'thing to look up"],["dkim","pass","signed with ._domainkey."]]}'
)
_DICTIONARIES = {1: _FIRST}
_NEWEST = max(_DICTIONARIES)

_PAGE_OF = """
select id, details from message where id > $1 and ($2::bigint is null or account_id = $2) order by id limit $3"""
_CHANGE = """
update message m set details = one.details from unnest($1::uuid[], $2::bytea[]) as one (id, details)
where m.id = any($1::uuid[]) and m.id = one.id"""


def pack(details: Mapping[str, Any]) -> bytes:
    """Return ``details`` as they are stored."""
    return _deflated(orjson.dumps(details))


def unpack(stored: bytes | None) -> dict[str, Any]:
    """Return what was packed; nothing if nothing was stored."""
    found: dict[str, Any] = orjson.loads(_inflated(stored)) if stored else {}
    return found


def record_of(row: Any) -> dict[str, Any]:
    """Return the whole record of a row with ``record`` and ``details``."""
    return {**orjson.loads(row["record"]), **unpack(row["details"])}


async def containing(connection: Connection, account_id: int | None, pattern: str) -> list[Any]:
    """Return the ids of messages whose details contain ``pattern`` (a regular expression, in any case). Reads all."""
    search = re.compile(pattern, re.IGNORECASE)
    return [row["id"] async for row, text in _texts(connection, account_id) if search.search(text)]


async def replace(connection: Connection, account_id: int | None, pattern: str, instead: str) -> list[Any]:
    """Put ``instead`` in place of ``pattern`` in the details of all messages; return the ids of those that change."""
    search = re.compile(pattern, re.IGNORECASE)
    changed = {}
    async for row, text in _texts(connection, account_id):
        if search.search(text):
            changed[row["id"]] = _deflated(search.sub(lambda _: instead, text).encode())
    if changed:
        await connection.execute(_CHANGE, list(changed), list(changed.values()))
    return list(changed)


async def _texts(connection: Connection, account_id: int | None) -> AsyncIterator[tuple[Any, str]]:
    last = UUID(int=0)
    while page := await connection.fetch(_PAGE_OF, last, account_id, PAGE):
        for row in page:
            if row["details"]:
                yield row, _inflated(row["details"]).decode()
        last = page[-1]["id"]


def _deflated(text: bytes) -> bytes:
    deflate = zlib.compressobj(_LEVEL, zlib.DEFLATED, _WINDOW, _MEMORY, zlib.Z_DEFAULT_STRATEGY, _DICTIONARIES[_NEWEST])
    return bytes((_NEWEST,)) + deflate.compress(text) + deflate.flush()


def _inflated(stored: bytes) -> bytes:
    inflate = zlib.decompressobj(_WINDOW, _DICTIONARIES[stored[0]])
    return inflate.decompress(stored[1:]) + inflate.flush()

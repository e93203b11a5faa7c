"""Personal data in complaint cases: found for the person, and taken out of closed cases on request or in time.

What a case was about, how it ended and what it cost stays, without anybody's name.

It must never empty a case that is not closed: it is needed for the very claim that it is about.

*Limits.* What operators wrote into a closed case goes as a whole, whomever it names.
"""

from __future__ import annotations

from mta.store.postgres.database import Connection

OF = """
select account_id, 'C-' || id as "case", source, state::text as state, address, mailing, summary as complaint,
    complaints, opened_at, closed_at, upheld
from complaint_case where address_key = $1 order by id"""

_EMPTY = """
said as (
    update case_event set evidence = null, data = data - '{{text,terms,reason,summary}}'::text[]
    from gone where case_id = gone.id
)
update complaint_case c set address = null, address_key = null, dossier = null, summary = '(erased)'
from gone where c.id = gone.id"""

SWEEP = f"""
with gone as (
    select id from complaint_case where state = 'closed' and closed_at < $1 and summary <> '(erased)' limit $2
), {_EMPTY.format()}"""  # noqa: S608 - our own text

_ERASE = f"""
with gone as (
    select id from complaint_case
    where state = 'closed' and address_key = $1 and ($2::bigint is null or account_id = $2)
), {_EMPTY.format()}"""  # noqa: S608 - our own text


async def erase(connection: Connection, address_key: bytes, account_id: int | None) -> None:
    """Empty the closed cases of a person, with one account or with all (None)."""
    await connection.execute(_ERASE, address_key, account_id)

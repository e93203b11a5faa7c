"""Personal data in complaint cases: find it for a person, and erase it from closed cases.

The subject of a case, its result and its costs stay, without names.

Invariants: a case that is not closed is not erased; its data is needed to settle the claim.

Limitations: remarks of operators in a closed case are erased as a whole.
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
    """Erase the personal data in a person's closed cases, with one account or with all (None)."""
    await connection.execute(_ERASE, address_key, account_id)

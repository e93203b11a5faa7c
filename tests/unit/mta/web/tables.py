"""What all tables hold, to see that a request changed nothing."""

from __future__ import annotations

from collections.abc import Mapping

from mta.store.store import Store

# When something was last used, or seen alive, is noted by reading.
_NOTED = ("seen_at", "last_used_at", "last_used_from", "renewals")
_TABLES = """
select relname from pg_class
where relkind = 'r' and relnamespace = 'public'::regnamespace and not relispartition order by relname"""


async def contents(store: Store) -> Mapping[str, str]:
    """Return a digest of each table."""
    async with store._database.session() as connection:
        names = [row["relname"] for row in await connection.fetch(_TABLES)]
        return {
            name: await connection.fetchval(
                f"""
                select md5(coalesce(string_agg(told::text, '' order by told::text), ''))
                from (select to_jsonb(t) - $1::text[] as told from "{name}" t) as one""",
                list(_NOTED),
            )
            for name in names
        }


def different(before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    """Return the tables that have changed."""
    return sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))

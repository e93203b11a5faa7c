"""The terms that messages are found by, in lower case: local part and `@domain` of each recipient, and `<sender`."""

from __future__ import annotations

# Must be the expression of the index ``message_terms``.
TERMS = """array_to_tsvector(
    string_to_array(replace(btrim(lower(record ->> 'recipients'), '[]"'), '@', '", "@'), '", "')
    || array['<' || coalesce(lower(sender), '')]
)"""


def term(text: str) -> str:
    """Return a term as a query (tsquery) has it."""
    escaped = text.replace("\\", "\\\\").replace("'", "''")
    return f"'{escaped}'"

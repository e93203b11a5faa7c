"""PostgreSQL, the one store: queue, accounts, suppressions, keys, events."""

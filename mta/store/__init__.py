"""PostgreSQL, the one store; nothing outside this package knows SQL."""

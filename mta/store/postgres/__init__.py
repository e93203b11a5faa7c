"""PostgreSQL: connections, schema, batching, secrets, and the bundled server."""

"""The queue in the database: enqueue, claim, leases, holds, operator changes."""

"""``mta queue``: what is queued, and what operators do with it."""

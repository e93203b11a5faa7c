"""``mta breaker`` and ``mta blocklist``: what our mail does to our reputation."""

"""``mta suppression``: addresses that must not be mailed."""

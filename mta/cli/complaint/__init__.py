"""``mta complaint``: complaint cases."""

"""``mta shaping``: actions in force, suspensions, and the limits of a path explained."""

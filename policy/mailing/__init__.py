"""What was confirmed of a mailing: references, what may vary in them, and whether a message matches one."""

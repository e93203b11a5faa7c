"""What the periodic jobs do, a subject a file."""

"""Pages that try something out, and change nothing."""

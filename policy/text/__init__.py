"""The text of a message and its header, decoded once."""

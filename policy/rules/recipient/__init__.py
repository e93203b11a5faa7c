"""Rules about each recipient."""

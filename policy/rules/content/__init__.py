"""Rules about the message itself."""

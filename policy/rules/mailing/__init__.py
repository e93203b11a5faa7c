"""Rules about the mailing, and the header fields it must bear."""

"""Ask external scanners about a message's content."""

"""Files that operators and accounts hand in: tables of consents and suppressions, messages."""

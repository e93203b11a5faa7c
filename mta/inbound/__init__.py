"""Stage 1: a client's SMTP session, ending in a message that is accepted and committed, or refused."""

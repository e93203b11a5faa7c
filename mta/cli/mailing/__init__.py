"""``mta mailing``: mailings and their confirmation."""

"""Who may send: accounts, their credentials, domains and DKIM keys."""

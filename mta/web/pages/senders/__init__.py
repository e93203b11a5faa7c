"""Pages about who sends: accounts, domains and keys, credentials, webhooks."""

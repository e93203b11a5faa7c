"""Who may be mailed: consents and their ledger, suppressions, unsubscribes."""

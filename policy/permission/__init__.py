"""Consent, its evidence and ledger, suppressions, unsubscribe tokens and links."""

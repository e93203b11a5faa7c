"""Accounts: credentials, sender domains, status, reviews, quotas, DKIM keys."""

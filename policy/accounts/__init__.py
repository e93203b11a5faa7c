"""Accounts, their sender domains, quotas, reviews and mailings."""

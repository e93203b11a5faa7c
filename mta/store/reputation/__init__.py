"""Reputation: delivery statistics, breakers, complaint cases, blocklists."""

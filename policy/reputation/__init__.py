"""Complaint cases, breakers, blocklists."""

"""Periodic jobs of the supervisor."""

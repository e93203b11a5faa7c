"""Mailings: confirmation, sampling, and the queued messages that wait for them."""

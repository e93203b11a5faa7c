"""Rules about the account that sends."""

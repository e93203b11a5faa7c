"""A complete small world to try the service in: a scripted receiver, its DNS, an account, a few messages."""

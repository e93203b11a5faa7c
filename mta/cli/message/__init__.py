"""Commands about one message or reply: ``mta explain``, ``mta lint``, ``mta classify``."""

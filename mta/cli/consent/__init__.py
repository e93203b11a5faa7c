"""``mta consent`` and ``mta privacy``: what persons agreed to, and what is kept about them."""

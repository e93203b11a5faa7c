"""What operators and the abuse desk do about blocklists, takedowns, lists and one person's data."""

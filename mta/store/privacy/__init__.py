"""A person's rights: export, erasure, and retention limits."""

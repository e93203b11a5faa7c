"""The rules of the chain, one a file; ``size.py`` is the template to copy."""

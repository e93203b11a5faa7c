"""Stage 1: accept a message or reject it: options, facts, policy chain, signature, commit."""

"""The pages of operators and accounts, for browsers: server-side HTML that needs no JavaScript."""

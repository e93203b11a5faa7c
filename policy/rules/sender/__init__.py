"""Rules about who a message says it is from."""

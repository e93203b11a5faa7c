"""What receivers and recipients think: delivery statistics, breakers, complaint cases, blocklists."""

"""The far end, scripted: SMTP receiver, name server, load generator; for the demo and the tests."""

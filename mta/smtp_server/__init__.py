"""The SMTP protocol, server side: connections, sessions and replies, for submission and for reports."""

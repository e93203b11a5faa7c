"""Stage 4: from a delivery to an attempt: route, connection, TLS, SMTP transaction."""

"""AUTH: who the client is (RFC 4954)."""

"""TLS towards receivers: what a host must show (DANE, MTA-STS, the sender, our settings), and whether it does."""

"""What happened: events, outbox and webhooks, account history, rejections, recipient activity."""

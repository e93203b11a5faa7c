"""The HTTP side: monitoring, the pages for recipients, and webhooks."""

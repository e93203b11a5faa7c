"""The service itself: its configuration, its sources, its requests to webhooks."""

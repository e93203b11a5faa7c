"""Commands about the service itself: run it, check and watch it, and what it needs: keys, profiles, webhooks."""

"""What operators see: life events, metrics, live traces. It decides nothing."""

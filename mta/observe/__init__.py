"""What operators see: event log, metrics, live traces, the service's log."""

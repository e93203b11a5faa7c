"""Show operators what happens: event log, metrics, live traces, the service's log."""

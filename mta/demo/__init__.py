"""A self-contained demonstration of the service: `mta demo`."""

"""The ``mta`` command, one file a subject."""

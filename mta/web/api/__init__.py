"""The REST API ``/v1``: one file a noun."""

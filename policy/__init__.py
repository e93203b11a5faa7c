"""May this be sent? Pure decisions: no IO, no clock (``now`` is an argument), no logging."""

__distribution__ = "imprimatur-mta"

"""Stage 3: which delivery may start now, and what its outcome means. Only ``dispatcher`` is asynchronous."""

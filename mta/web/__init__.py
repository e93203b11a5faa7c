"""The HTTP side: health and metrics for machines that watch, pages for recipients, and what accounts are told."""

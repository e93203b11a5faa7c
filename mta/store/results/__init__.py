"""Outcomes of deliveries and reports, each applied in one transaction."""

"""Complaint cases in the store.

It must never be opened but by ``open_case``.
"""

from mta.store.case_opening import CaseError, open_case

__all__ = ["CaseError", "open_case"]

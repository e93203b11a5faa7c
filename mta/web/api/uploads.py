"""Bodies that are files: taken as they come, by a job that reads them."""

from __future__ import annotations

from typing import Any

from fastapi import Request

from mta.admin.files.import_jobs import MAX_FILE, UploadedFile

JSON_LINES, CSV = "application/x-ndjson", "text/csv"
FILE: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {kind: {"schema": {"type": "string"}} for kind in (JSON_LINES, CSV)},
    }
}


def uploaded_file(request: Request) -> UploadedFile:
    """Return the body as a file, whose pieces raise HTTPException if it is too large or does not come."""
    request.state.body.allow(MAX_FILE)
    return UploadedFile(request.stream())

"""Bodies that are files: kept as they come, for a job that reads them."""

from __future__ import annotations

import asyncio
import os
import tempfile
from pathlib import Path
from typing import Any

from fastapi import Request

MAX_FILE = 2**30  # octets
JSON_LINES, CSV = "application/x-ndjson", "text/csv"
FILE: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {kind: {"schema": {"type": "string"}} for kind in (JSON_LINES, CSV)},
    }
}


async def stored(request: Request) -> Path:
    """Write the body to a file as it comes. Raises HTTPException if it is too large or does not come."""
    request.state.body.allow(MAX_FILE)
    descriptor, name = await asyncio.to_thread(tempfile.mkstemp, dir=request.app.state.run_dir)
    try:
        async for piece in request.stream():
            await asyncio.to_thread(os.write, descriptor, piece)
    except BaseException:
        os.unlink(name)
        raise
    finally:
        os.close(descriptor)
    return Path(name)

"""The operational log of the service, on standard error: readable lines on a terminal, JSON lines otherwise.

Events about messages are not logged here but in the event log (``mta.observe.events``).

Invariants: No credential, no message text and no list of addresses is logged.
Limitations: Texts of exceptions are logged as they are; the code that raises must keep secrets out of them.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from math import inf
from time import monotonic
from typing import Literal

import orjson

_rich = sys.modules.get("rich")
sys.modules["rich"] = None  # type: ignore[assignment]  # structlog would import it for its tracebacks: 4 MiB each process
import structlog  # noqa: E402

if _rich:
    sys.modules["rich"] = _rich
else:
    del sys.modules["rich"]

Logger = structlog.typing.FilteringBoundLogger

_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


def configure(level: Literal["debug", "info", "warning", "error"], *, process: str | None = None) -> None:
    """Set up ``structlog`` for this process. ``process``: its name in every line, e.g. ``worker-0``."""
    terminal = sys.stderr.isatty()
    common: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=not terminal),
    ]
    structlog.configure(
        processors=[*common, *(_readable() if terminal else _json())],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        logger_factory=(
            structlog.PrintLoggerFactory(sys.stderr) if terminal else structlog.BytesLoggerFactory(sys.stderr.buffer)
        ),
        cache_logger_on_first_use=False,
    )
    structlog.contextvars.clear_contextvars()
    if process:
        structlog.contextvars.bind_contextvars(process=process)
    # What libraries log through the standard library: warnings and above, in plain form.
    logging.basicConfig(stream=sys.stderr, level=max(logging.WARNING, _LEVELS[level]), force=True)


def get_logger() -> Logger:
    """Return a logger that binds to the configuration in force when it is first used."""
    logger: Logger = structlog.get_logger()
    return logger


class Sparingly:
    """Limits the lines about a lasting trouble: the first at once, then one in ``seconds``."""

    def __init__(self, seconds: float = 60.0, clock: Callable[[], float] = monotonic) -> None:
        self._seconds, self._clock = seconds, clock
        self._logged_at = -inf
        self._unlogged = 0

    def due(self) -> int:
        """Count one more; return how many there were since the last line if one is due now, else 0."""
        self._unlogged += 1
        now = self._clock()
        if now - self._logged_at < self._seconds:
            return 0
        self._logged_at = now
        count, self._unlogged = self._unlogged, 0
        return count


def _readable() -> list[structlog.typing.Processor]:
    return [structlog.dev.ConsoleRenderer(colors=True, exception_formatter=structlog.dev.plain_traceback)]


def _json() -> list[structlog.typing.Processor]:
    return [
        structlog.processors.format_exc_info,
        structlog.processors.JSONRenderer(serializer=_dump),
    ]


def _dump(event: object, **_: object) -> bytes:
    return orjson.dumps(event, default=repr, option=orjson.OPT_NON_STR_KEYS)

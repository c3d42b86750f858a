"""The access log: one JSON object per line, without file names, addresses, header values or other data of a request.

Messages of other libraries are reduced to logger and line, because they may quote what they were given.
"""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any

from pocketcxr.serving.worker import place_of

OWN = "pocketcxr.serving"
_LOGGERS_WITHOUT_DATA = (OWN, "uvicorn.error")  # loggers whose messages hold no data of requests


class JsonLines(logging.Formatter):
    """Turns a record into one line; the fields of `record.fields` stand beside time, level and event."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        own = record.name.startswith(_LOGGERS_WITHOUT_DATA)
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, tz=UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": record.getMessage() if own else f"{record.name} {record.module}:{record.lineno}",
            **getattr(record, "fields", {}),
        }
        if record.exc_info and record.exc_info[1] is not None:
            line["place"] = place_of(record.exc_info[1])
        return json.dumps(line)


def configure_access_log() -> None:
    """Send everything that this process logs to standard error as JSON lines."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    for name, level in (("pocketcxr", logging.INFO), ("uvicorn", logging.WARNING)):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
        logger.setLevel(level)
    logging.captureWarnings(capture=True)

"""The server's log: lines of text for people or JSON for machines, one per request.

Keys are never logged; prompts and responses only with `log_samples`. An exception raised by a
plug-in scorer is logged as it is.
"""

from __future__ import annotations

import json
import logging
import time
from typing import Any, Literal

from touchstone_rewards.reward_server.caller import Served

requests_log = logging.getLogger("touchstone_rewards.reward_server.requests")
MOST_MESSAGE_CHARS = 4096
# Machines and open pages poll these every few seconds; logged at debug level.
QUIET_ROUTES = frozenset({"/health", "/ready", "/metrics", "/dashboard/data"})


def _message(record: logging.LogRecord) -> str:
    """Return the record's message, with the middle of a very long one cut out."""
    said = record.getMessage()
    if len(said) <= MOST_MESSAGE_CHARS:
        return said
    half = MOST_MESSAGE_CHARS // 2
    return f"{said[:half]} … {len(said) - 2 * half} characters … {said[-half:]}"


class TextFormatter(logging.Formatter):
    """Time, level, logger and message, followed by the fields as `name=value`."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        # The base class calls `getMessage()`, so set the final message first.
        record.msg, record.args = _message(record), None
        return super().format(record)

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 (logging's name)
        fields = getattr(record, "fields", {})
        shown = "".join(
            f" {name}={value}" for name, value in fields.items() if value not in ("", {})
        )
        return super().formatMessage(record) + shown


class JsonFormatter(logging.Formatter):
    """One JSON object per line, tracebacks included."""

    def format(self, record: logging.LogRecord) -> str:
        whole_s, fraction = divmod(record.created, 1)
        line = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(whole_s))
            + f".{int(fraction * 1000):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": _message(record),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def configure(level: str, style: Literal["text", "json"]) -> None:
    """Send all logging of this process to standard error, in this style."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter() if style == "json" else TextFormatter())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    # httpx2 logs a line for every call of a judge.
    logging.getLogger("httpx2").setLevel("WARNING" if level == "info" else logging.NOTSET)


def log_request(served: Served, route: str, status: int, seconds: float, *, samples: bool) -> None:
    """Log the line of one request; `samples`: include the scored samples."""
    level = logging.DEBUG if route in QUIET_ROUTES else logging.INFO
    if not requests_log.isEnabledFor(level):
        return
    fields: dict[str, Any] = {
        "request_id": served.request_id,
        "route": route,
        "status": status,
        "ms": round(seconds * 1e3, 3),
        "key": served.caller.name if served.caller else "",
        "profile": served.profile,
        "samples": served.samples,
        "failures": dict(served.failures),
    }
    if samples:
        fields["content"] = [
            {
                "id": sample.id,
                "prompt": sample.prompt,
                "response": sample.response,
                "ground_truth": sample.ground_truth,
                "reward": result.reward,
            }
            for sample, result in zip(*served.scored, strict=True)
        ]
    requests_log.log(level, "answered", extra={"fields": fields})

"""What the server says: lines of text for people, or of JSON for machines; one a request.

Keys and what models wrote are never in them, unless `log_samples` asks for the latter. What a
scorer of the operator's own says when it raises is logged as it is.
"""

from __future__ import annotations

import json
import logging
import time
from typing import Any, Literal

from touchstone_rewards.reward_server.caller import Served

requests_log = logging.getLogger("touchstone_rewards.reward_server.requests")
MOST_MESSAGE_CHARS = 4096
# Asked every few seconds by machines and by open pages, and of no interest.
QUIET_ROUTES = frozenset({"/health", "/ready", "/metrics", "/dashboard/data"})


def _message(record: logging.LogRecord) -> str:
    """What the record says, without the middle of a text that no one reads to its end."""
    said = record.getMessage()
    if len(said) <= MOST_MESSAGE_CHARS:
        return said
    half = MOST_MESSAGE_CHARS // 2
    return f"{said[:half]} … {len(said) - 2 * half} characters … {said[-half:]}"


class TextFormatter(logging.Formatter):
    """Time, level, logger, message, and then the fields as `name=value`."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        # What the base class shows is `getMessage()`, so its parts are settled before.
        record.msg, record.args = _message(record), None
        return super().format(record)

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 (logging's name)
        fields = getattr(record, "fields", {})
        shown = "".join(
            f" {name}={value}" for name, value in fields.items() if value not in ("", {})
        )
        return super().formatMessage(record) + shown


class JsonFormatter(logging.Formatter):
    """One JSON object a line, a traceback included."""

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
    """Everything that this process logs goes to standard error, in this style."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter() if style == "json" else TextFormatter())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    # It has a line for every call of a judge.
    logging.getLogger("httpx2").setLevel("WARNING" if level == "info" else logging.NOTSET)


def log_request(served: Served, route: str, status: int, seconds: float, *, samples: bool) -> None:
    """The line of one request. `samples`: with what was scored."""
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

"""Log the exceptions of scorers: each place in their code once, with the request it failed for."""

from __future__ import annotations

import logging

from touchstone_rewards.reward_server.caller import Served
from touchstone_rewards.reward_server.scorers.returned import place_of

MOST_PLACES = 10_000
_logged: set[tuple[str, str]] = set()
log = logging.getLogger(__name__)


def log_failure(scorer: str, trace: str, served: Served) -> None:
    """Log a scorer's traceback, unless this scorer has already failed at this place.

    A scorer that fails on every sample would fill the disk. The samples' errors and the log line of
    each request still say how many failed.
    """
    place = scorer, place_of(trace)
    if place in _logged or len(_logged) >= MOST_PLACES:
        return
    _logged.add(place)
    about = scorer, served.profile or "unknown", served.request_id or "none"
    log.error("scorer %s failed; profile %s, request %s\n%s", *about, trace.rstrip())

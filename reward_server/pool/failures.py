"""The log of what scorers raise: each place of their code once, with who asked for what."""

from __future__ import annotations

import logging

from touchstone_rewards.reward_server.caller import Served
from touchstone_rewards.reward_server.scorers.returned import place_of

MOST_PLACES = 10_000
_logged: set[tuple[str, str]] = set()
log = logging.getLogger(__name__)


def log_failure(scorer: str, trace: str, served: Served) -> None:
    """Log the traceback of a scorer, unless it is known from this scorer and this place.

    A scorer that fails at every sample would fill a disk. The samples' own errors and the line of
    each request say how many failed.
    """
    place = scorer, place_of(trace)
    if place in _logged or len(_logged) >= MOST_PLACES:
        return
    _logged.add(place)
    about = scorer, served.profile or "unknown", served.request_id or "none"
    log.error("scorer %s failed; profile %s, request %s\n%s", *about, trace.rstrip())

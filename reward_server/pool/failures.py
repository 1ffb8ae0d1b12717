"""Log what fails in workers: exceptions of scorers, each place in their code once with the request
it failed for, and workers that end while they score."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from touchstone_rewards.reward_server.caller import Served
from touchstone_rewards.reward_server.pool.calls import HandSlot
from touchstone_rewards.reward_server.scorers.base import Score
from touchstone_rewards.reward_server.scorers.returned import place_of

MOST_PLACES = 10_000
SHOWN_CHARS = 200  # of a sample's id
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


def log_verdict(pid: int, running: Sequence[HandSlot], verdict: Score) -> None:
    """Log the end of a worker, and of the sample or batch that it ran, with the reason."""
    call, position = running[0]
    shown = call.samples[position].id[:SHOWN_CHARS]
    more = f" and {len(running) - 1} more of its batch" if len(running) > 1 else ""
    why = verdict.error.message if verdict.error else ""
    log.warning("worker %d, %s, sample %r%s: %s", pid, call.scorer_name, shown, more, why)

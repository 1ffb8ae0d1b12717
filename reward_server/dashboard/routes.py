"""Routes of the dashboard: the pages `GET /` and `GET /label`, and their data.

`GET /dashboard/data` returns the numbers, `POST /dashboard/explain` one sample, and
`GET /dashboard/samples` the recent samples as lines to label. The pages are public and contain no
data; the other routes need a key wherever `/score` does.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import cast

import msgspec
from msgspec import Struct
from msgspec.structs import replace
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from touchstone_rewards.reward_server.dashboard.data import Sources, gather
from touchstone_rewards.reward_server.dashboard.policy import digest, page_headers
from touchstone_rewards.reward_server.errors import InvalidRequest
from touchstone_rewards.reward_server.http.body import decode, json_response
from touchstone_rewards.reward_server.schemas import (
    Message,
    Sample,
    SampleResult,
    ScoreRequest,
)

FOLDER = Path(__file__).parent
# Each page's path, its file and its scripts.
PAGES = {
    "/": (
        "page.html",
        "elements.js",
        "asking.js",
        "charts.js",
        "panels.js",
        "recent.js",
        "page.js",
    ),
    "/label": ("label.html", "elements.js", "asking.js", "label.js"),
}
# Answers with samples must not be cached on their way.
PRIVATE = {"cache-control": "no-store", "x-content-type-options": "nosniff"}
EXPECTED = '{"seq": 12}, or {"profile": "math", "sample": {"id": "…", "response": "…"}}'


class ExplainRequest(Struct, forbid_unknown_fields=True):
    """A kept sample by its number, or a sample with a profile to try.

    `others`: the other responses of the sample's group, for a profile that scores whole groups.
    """

    seq: int | None = None
    profile: str = "math"
    sample: Sample | None = None
    others: list[str | list[Message]] = []


class Explained(Struct):
    """The sample and its current result with an explanation. `weights`: weight of each scorer."""

    sample: Sample
    profile: str
    fingerprint: str
    elapsed_ms: float
    result: SampleResult
    weights: dict[str, float]


_decode_explain = msgspec.json.Decoder(ExplainRequest).decode


def dashboard_routes(sources: Sources, *, wants_key: bool) -> list[Route]:
    """Return the routes for the data in `sources`."""

    def shows(name: str) -> Route:
        page, headers = load_page(name, wants_key)

        async def show_page(_: Request) -> Response:
            return Response(page, headers=headers)

        return Route(name, show_page)

    async def data(request: Request) -> Response:
        after = request.query_params.get("after", "0")
        if not after.isdecimal() or len(after) > 18:
            raise InvalidRequest(f"after is {after!r}; expected the last seq that you have")
        chosen = request.query_params.get("profile")
        return json_response(
            await gather(sources, profile=chosen, after=int(after)), headers=PRIVATE
        )

    async def explain(request: Request) -> Response:
        asked = decode(await request.body(), _decode_explain, EXPECTED)
        return json_response(await explained(sources, asked), headers=PRIVATE)

    async def samples(_: Request) -> Response:
        lines = await asyncio.to_thread(lines_to_label, sources)
        return Response(lines, headers=PRIVATE, media_type="application/jsonl")

    return [
        *map(shows, PAGES),
        Route("/dashboard/samples", samples),
        Route("/dashboard/data", data),
        Route("/dashboard/explain", explain, methods=["POST"]),
    ]


async def explained(sources: Sources, asked: ExplainRequest) -> Explained:
    """Score one sample with an explanation, without counting it in any statistics.

    Raises:
        InvalidRequest: there is no such sample.
    """
    profile, sample = asked.profile, asked.sample
    if asked.seq is not None:
        found = sources.recent.whole(asked.seq)
        if found is None:
            raise InvalidRequest(f"sample {asked.seq} is no longer kept; open a newer one")
        profile, sample = found
        known = sources.engine.profiles.get(profile)
        if known is not None and known.info.groups is not None:
            raise InvalidRequest(
                f"profile {profile!r} scores whole groups, so that a sample is not scored again "
                "alone; try it with the other responses of its group below"
            )
    if sample is None:
        raise InvalidRequest(f"neither seq nor sample is given; expected {EXPECTED}")
    samples = [sample]
    if asked.others:
        sample.group_id = sample.group_id or "tried"
        samples += [
            replace(sample, id=f"{sample.id} {place}", response=cast("str", other))
            for place, other in enumerate(asked.others, 1)
        ]
    request = ScoreRequest(samples, profile, priority="eval", explain=True)
    answer = await sources.engine.score(request, observed=False)
    result, scored_by = answer.results[0], sources.engine.profiles[answer.profile].reached()
    weights = {key: entry.weight for one in scored_by for key, entry in one.entries.items()}
    weights = {key: weights.get(key, 0.0) for key in result.scores} | (result.weights or {})
    return Explained(sample, answer.profile, answer.fingerprint, answer.elapsed_ms, result, weights)


def lines_to_label(sources: Sources) -> bytes:
    """Return the recent samples as JSONL in the form that `audit` writes for labeling, label
    null.
    """
    return b"".join(
        msgspec.json.encode({**msgspec.to_builtins(sample), "verdicts": [reward], "label": None})
        + b"\n"
        for reward, sample in sources.recent.all_whole()
    )


def load_page(name: str, wants_key: bool) -> tuple[str, dict[str, str]]:
    """Return the page with inline style and scripts, and headers that block everything else."""
    file, *scripts = PAGES[name]
    style = (FOLDER / "style.css").read_text(encoding="utf-8")
    script = "\n".join((FOLDER / each).read_text(encoding="utf-8") for each in scripts)
    page = (FOLDER / file).read_text(encoding="utf-8")
    page = page.replace("/* style.css */", style).replace("/* scripts */", script)
    if wants_key:
        page = page.replace('data-wants-key="no"', 'data-wants-key="yes"')
    return page, page_headers(scripts=digest(script), styles=digest(style))

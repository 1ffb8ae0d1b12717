"""`GET /` the page, `GET /dashboard/data` what it shows, `POST /dashboard/explain` one sample.

The page is open to everyone and holds no data; the other two need a key where `/score` does.
"""

from __future__ import annotations

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
# Answers with samples in them are stored nowhere on their way.
PRIVATE = {"cache-control": "no-store", "x-content-type-options": "nosniff"}
EXPECTED = '{"seq": 12}, or {"profile": "math", "sample": {"id": "…", "response": "…"}}'


class ExplainRequest(Struct, forbid_unknown_fields=True):
    """A kept sample by its number, or a sample and a profile to try it under.

    `others`: the other responses of the sample's group, for a profile that scores whole groups."""

    seq: int | None = None
    profile: str = "math"
    sample: Sample | None = None
    others: list[str | list[Message]] = []


class Explained(Struct):
    """The sample, and its verdict as of now with the explanation."""

    sample: Sample
    profile: str
    fingerprint: str
    elapsed_ms: float
    result: SampleResult


_decode_explain = msgspec.json.Decoder(ExplainRequest).decode


def dashboard_routes(sources: Sources, *, wants_key: bool) -> list[Route]:
    """The routes, over what `sources` have seen."""
    page, headers = load_page(wants_key)

    async def show_page(_: Request) -> Response:
        return Response(page, headers=headers)

    async def data(request: Request) -> Response:
        after = request.query_params.get("after", "0")
        if not after.isdecimal() or len(after) > 18:
            raise InvalidRequest(f"after is {after!r}; expected the last number that you have")
        chosen = request.query_params.get("profile")
        return json_response(
            await gather(sources, profile=chosen, after=int(after)), headers=PRIVATE
        )

    async def explain(request: Request) -> Response:
        asked = decode(await request.body(), _decode_explain, EXPECTED)
        return json_response(await explained(sources, asked), headers=PRIVATE)

    return [
        Route("/", show_page),
        Route("/dashboard/data", data),
        Route("/dashboard/explain", explain, methods=["POST"]),
    ]


async def explained(sources: Sources, asked: ExplainRequest) -> Explained:
    """Score one sample, again or for the first time, with its explanation; it is counted nowhere.

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
        raise InvalidRequest(f"neither seq nor sample came; expected {EXPECTED}")
    samples = [sample]
    if asked.others:
        sample.group_id = sample.group_id or "tried"
        samples += [
            replace(sample, id=f"{sample.id} {place}", response=cast("str", other))
            for place, other in enumerate(asked.others, 1)
        ]
    request = ScoreRequest(samples, profile, priority="eval", explain=True)
    answer = await sources.engine.score(request, observed=False)
    return Explained(
        sample, answer.profile, answer.fingerprint, answer.elapsed_ms, answer.results[0]
    )


def load_page(wants_key: bool) -> tuple[str, dict[str, str]]:
    """The page with its style and script inside, and headers that let it load nothing else."""
    style = (FOLDER / "style.css").read_text(encoding="utf-8")
    scripts = ("elements.js", "charts.js", "panels.js", "page.js")
    script = "\n".join((FOLDER / name).read_text(encoding="utf-8") for name in scripts)
    page = (FOLDER / "page.html").read_text(encoding="utf-8")
    page = page.replace("/* style.css */", style).replace("/* scripts */", script)
    if wants_key:
        page = page.replace('data-wants-key="no"', 'data-wants-key="yes"')
    return page, page_headers(scripts=digest(script), styles=digest(style))

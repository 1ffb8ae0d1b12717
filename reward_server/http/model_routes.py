"""Routes over the models: `POST /embed`, and to look at, load and unload them.

Loading reads folders of the machine, so it needs a key even where the server asks for none.
"""

from __future__ import annotations

import time

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from touchstone_rewards.reward_server.caller import current
from touchstone_rewards.reward_server.errors import NotReady, RequestTooLarge, Unauthorized
from touchstone_rewards.reward_server.http.auth import KeyRing
from touchstone_rewards.reward_server.http.body import (
    decode,
    encode,
    json_response,
    read_body,
    send_json,
    unless_gone,
)
from touchstone_rewards.reward_server.schemas import (
    EmbedRequest,
    EmbedResponse,
    LoadRequest,
    ModelList,
    SampleError,
)
from touchstone_rewards.reward_server.scoring.engine import Engine

_decode_embed = msgspec.json.Decoder(EmbedRequest).decode
_decode_load = msgspec.json.Decoder(LoadRequest).decode


def model_routes(engine: Engine, keys: KeyRing) -> list[Route]:
    """The routes, over the models of `engine`."""

    async def models(_: Request) -> Response:
        return json_response(ModelList(engine.models.info()))

    async def load(request: Request) -> Response:
        asked = await _asked(request, keys)
        return json_response(await engine.models.load(asked.name, asked.config))

    async def unload(request: Request) -> Response:
        asked = await _asked(request, keys)
        return json_response(await engine.models.unload(asked.name))

    return [
        Route("/embed", EmbedEndpoint(engine), methods=["POST"]),
        Route("/models", models),
        Route("/models/load", load, methods=["POST"]),
        Route("/models/unload", unload, methods=["POST"]),
    ]


class EmbedEndpoint:
    """`POST /embed` as a bare ASGI app."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = await read_body(receive)
        request = decode(body, _decode_embed, '{"texts": ["…"], "model": "…"}')
        answer = await unless_gone(receive, self._embed(request))
        await send_json(send, encode(answer))

    async def _embed(self, request: EmbedRequest) -> EmbedResponse:
        began = time.perf_counter()
        if self.engine.draining:
            raise NotReady(f"{self.engine.not_ready_reason}; try again or elsewhere")
        most = self.engine.limits.max_samples
        if len(request.texts) > most:
            raise RequestTooLarge(f"{len(request.texts)} texts came, at most {most}; send fewer")
        with current().room(len(request.texts)):
            name, found = await self.engine.models.embed(
                request.model,
                request.texts,
                give_up_at=self.engine.give_up_at(request.deadline_ms),
                priority=request.priority,
            )
        errors = [one if isinstance(one, SampleError) else None for one in found]
        vectors = [None if isinstance(one, SampleError) else one.vector.tolist() for one in found]
        elapsed_ms = (time.perf_counter() - began) * 1e3
        return EmbedResponse(vectors, errors, name, round(elapsed_ms, 3))


async def _asked(request: Request, keys: KeyRing) -> LoadRequest:
    if not keys:
        raise Unauthorized(
            "this server has no API key, so no one may load or unload models; set REWARD_API_KEY"
        )
    body = await request.body()
    return decode(body, _decode_load, '{"name": "…", "config": {}}')

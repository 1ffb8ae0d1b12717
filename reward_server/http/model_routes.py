"""Routes over the models: `POST /embed`, and those that list, load and unload models.

Loading reads folders of the machine. So it must be enabled, needs a key with the role admin, and
reads below `models_dir` only.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from touchstone_rewards.reward_server.caller import current
from touchstone_rewards.reward_server.errors import (
    ConfigError,
    Forbidden,
    InvalidRequest,
    NotReady,
    RequestTooLarge,
)
from touchstone_rewards.reward_server.http.auth import require_admin
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
from touchstone_rewards.reward_server.settings import Settings

_decode_embed = msgspec.json.Decoder(EmbedRequest).decode
_decode_load = msgspec.json.Decoder(LoadRequest).decode


def model_routes(engine: Engine, settings: Settings) -> list[Route]:
    """Return the routes over the models of `engine`."""

    async def models(_: Request) -> Response:
        return json_response(ModelList(engine.models.info()))

    async def load(request: Request) -> Response:
        asked = await _asked(request, settings)
        await asyncio.to_thread(check_changes, asked.config, settings.models_dir)
        return json_response(await engine.models.load(asked.name, asked.config))

    async def unload(request: Request) -> Response:
        asked = await _asked(request, settings)
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
        began_s = time.perf_counter()
        if self.engine.draining:
            raise NotReady(f"{self.engine.not_ready_reason}; try again later or on another server")
        most = self.engine.limits.max_samples
        if len(request.texts) > most:
            raise RequestTooLarge(f"{len(request.texts)} texts came, at most {most}; send fewer")
        with current().room(len(request.texts)):
            name, found = await self.engine.models.embed(
                request.model,
                request.texts,
                give_up_at_s=self.engine.give_up_at_s(request.deadline_ms),
                priority=request.priority,
            )
        errors = [one if isinstance(one, SampleError) else None for one in found]
        vectors = [None if isinstance(one, SampleError) else one.vector.tolist() for one in found]
        elapsed_ms = (time.perf_counter() - began_s) * 1e3
        return EmbedResponse(vectors, errors, name, round(elapsed_ms, 3))


async def _asked(request: Request, settings: Settings) -> LoadRequest:
    require_admin("load or unload models")
    if not settings.model_loading:
        raise Forbidden("loading models at run time is disabled; set model_loading: true")
    body = await read_body(request.receive)
    return decode(body, _decode_load, '{"name": "…", "config": {}}')


def check_changes(changes: Mapping[str, Any], models_dir: Path | None) -> None:
    """Raise InvalidRequest if a request must not make these changes to a model.

    Only the operator's file may allow code of a model's folder. Folders must lie below
    `models_dir`, the base of an adapter included; others are not even looked at.
    """
    for name in ("trust_remote_code", "url", "key_env", "key_file"):
        if name in changes:
            raise InvalidRequest(f"{name} is given; it can be set in the operator's profile only")
    for name in ("model", "base_model", "local_folder"):
        if name in changes:
            _check_folder(name, changes[name], models_dir)
    if (model := changes.get("model")) is not None and changes.get("base_model") is None:
        _check_base(Path(model), models_dir)


def _check_folder(name: str, path: object, models_dir: Path | None) -> None:
    if models_dir is None:
        raise InvalidRequest(f"{name} is given, but models_dir is not set: no folder may be read")
    place = Path(path) if isinstance(path, str) else Path()
    if not place.is_absolute() or not place.resolve().is_relative_to(models_dir.resolve()):
        raise InvalidRequest(f"{name} is {path!r:.200}; expected an absolute path below models_dir")


def _check_base(folder: Path, models_dir: Path | None) -> None:
    """Check the base model that an adapter's own file names, if there is one."""
    # This imports torch.
    from touchstone_rewards.reward_server.models.checkpoint import adapter_base

    try:
        base = adapter_base(folder, None)
    except ConfigError as error:
        raise InvalidRequest(str(error)) from error
    if base is not None:
        _check_folder("the adapter's base", base, models_dir)

"""Peers of the serving benchmark: idiomatic FastAPI, and bare ASGI that only decodes and encodes.

`python -m benchmarks._serving_peers NAME PORT` serves one of them. Both use our wire format with
all fields, and the scorer that the request's profile names, `format` or `dummy`.
"""

from __future__ import annotations

import sys
from typing import Any, Literal

import msgspec
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict, Field

from touchstone_rewards.reward_server.http.body import read_body, send_json
from touchstone_rewards.reward_server.schemas import (
    SampleErrorCode,
    SampleResult,
    ScoreRequest,
    ScoreResponse,
)
from touchstone_rewards.reward_server.scorers.dummy import DummyScorer
from touchstone_rewards.reward_server.scorers.format import FormatScorer

# The rules as plain functions of a response, built once.
VALUES = {"dummy": DummyScorer()._value, "format": FormatScorer().tags._pairs}
Number = int | float


class Message(BaseModel):
    role: str
    content: str | list[Any] | None = None


class Item(BaseModel):
    model_config = ConfigDict(extra="forbid")

    id: str
    response: str
    prompt: str | list[Message] | None = None
    ground_truth: str | Number | list[str | Number] | None = None
    group_id: str | None = None
    signals: dict[str, Number | list[Number] | None] = {}
    metadata: dict[str, Any] = {}


class Request(BaseModel):
    model_config = ConfigDict(extra="forbid")

    samples: list[Item]
    profile: str = "math"
    deadline_ms: float | None = Field(default=None, gt=0)
    priority: Literal["train", "eval"] = "train"
    explain: bool = False


class Error(BaseModel):
    code: SampleErrorCode
    message: str
    retryable: bool


class Result(BaseModel):
    id: str
    status: Literal["ok", "error"]
    reward: float | None
    scores: dict[str, float | None]
    error: Error | None = None
    explanation: dict[str, Any] | None = None


class Answer(BaseModel):
    results: list[Result]
    profile: str
    fingerprint: str
    elapsed_ms: float


def fastapi() -> FastAPI:
    app = FastAPI()

    @app.post("/score")
    async def score(request: Request) -> Answer:
        name, value = request.profile, VALUES[request.profile]
        rewards = [(item.id, value(item.response)) for item in request.samples]
        results = [Result(id=i, status="ok", reward=r, scores={name: r}) for i, r in rewards]
        return Answer(results=results, profile=name, fingerprint="", elapsed_ms=0.0)

    return app


def bare() -> Any:
    decode = msgspec.json.Decoder(ScoreRequest).decode

    async def app(scope: Any, receive: Any, send: Any) -> None:
        request = decode(await read_body(receive))
        name, value = request.profile, VALUES[request.profile]
        results = [
            SampleResult(sample.id, "ok", reward := value(sample.response), {name: reward})
            for sample in request.samples
        ]
        answer = ScoreResponse(results, name, "", 0.0)
        await send_json(send, msgspec.json.encode(answer))

    return app


if __name__ == "__main__":
    served = {"fastapi": fastapi, "bare": bare}[sys.argv[1]]()
    port = int(sys.argv[2])
    uvicorn.run(served, port=port, log_level="warning", access_log=False, lifespan="off")

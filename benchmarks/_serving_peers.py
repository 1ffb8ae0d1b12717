"""The same answer made by others: idiomatic FastAPI, and ASGI that only decodes and encodes.

`python -m benchmarks._serving_peers NAME PORT` serves one of them, with the dummy scorer.
"""

from __future__ import annotations

import sys
from typing import Any

import msgspec
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel

from reward_server.body import read_body, send_json
from reward_server.schemas import SampleResult, ScoreRequest, ScoreResponse
from reward_server.scorers.dummy import DummyScorer

value = DummyScorer()._value


class Item(BaseModel):
    id: str
    response: str
    prompt: str | None = None
    ground_truth: str | float | list[str | float] | None = None


class Request(BaseModel):
    samples: list[Item]
    profile: str = "math"


class Result(BaseModel):
    id: str
    status: str
    reward: float | None
    scores: dict[str, float | None]
    error: str | None = None
    explanation: dict[str, Any] | None = None


class Answer(BaseModel):
    results: list[Result]
    profile: str
    fingerprint: str
    elapsed_ms: float


def fastapi() -> FastAPI:
    app = FastAPI()

    @app.post("/score", response_model=Answer)
    async def score(request: Request) -> Answer:
        rewards = [(item.id, value(item.response)) for item in request.samples]
        results = [Result(id=i, status="ok", reward=r, scores={"dummy": r}) for i, r in rewards]
        return Answer(results=results, profile=request.profile, fingerprint="", elapsed_ms=0.0)

    return app


def bare() -> Any:
    decode = msgspec.json.Decoder(ScoreRequest).decode

    async def app(scope: Any, receive: Any, send: Any) -> None:
        request = decode(await read_body(receive))
        results = [
            SampleResult(sample.id, "ok", reward := value(sample.response), {"dummy": reward})
            for sample in request.samples
        ]
        answer = ScoreResponse(results, request.profile, "", 0.0)
        await send_json(send, msgspec.json.encode(answer))

    return app


if __name__ == "__main__":
    served = {"fastapi": fastapi, "bare": bare}[sys.argv[1]]()
    port = int(sys.argv[2])
    uvicorn.run(served, port=port, log_level="warning", access_log=False, lifespan="off")

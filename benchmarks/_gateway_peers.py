"""A slow judge endpoint, and the gateway in front of it that one would write by hand.

`python -m benchmarks._gateway_peers upstream PORT` answers every chat completion with a verdict
after 0.3 s, and calls for the model `hangs` never. It records how long it held each call, by the
number in `It is 12.`; `GET /taken` returns and clears the records. `… fastapi PORT UPSTREAM_URL`
judges the samples of our wire format there with one httpx2 client, 256 at a time. LiteLLM's proxy,
which takes calls one by one, runs in its own environment.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
import time
from pathlib import Path
from typing import Any

import httpx2
import uvicorn
import yaml
from fastapi import FastAPI
from pydantic import BaseModel

CALL_S, IN_FLIGHT = 0.3, 256
HANGS = "hangs"
_CHOICE = {"message": {"role": "assistant", "content": "Verdict: yes"}, "finish_reason": "stop"}
_USAGE = {"prompt_tokens": 200, "completion_tokens": 4}
_BODY = json.dumps({"model": "m", "choices": [_CHOICE], "usage": _USAGE}).encode()
_NUMBER = re.compile(rb"It is (\d+)\.")


def answer_of(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body) + body


ANSWER = answer_of(_BODY)
# Seconds from a call's last byte to its answer, by its number, over all connections.
taken_s: dict[int, float] = {}


class Upstream(asyncio.Protocol):
    """One kept-alive connection to the endpoint, answered after a delay."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport, self.received = transport, b""

    def data_received(self, data: bytes) -> None:
        came_s = time.perf_counter()
        self.received += data
        head, separator, body = self.received.partition(b"\r\n\r\n")
        if head.startswith(b"GET /taken "):
            self.received = b""
            self.transport.write(answer_of(json.dumps(taken_s).encode()))
            taken_s.clear()
            return
        if head.startswith(b"GET "):  # LiteLLM asks for a list of models, and works without it
            self.transport.close()
            return
        if not separator or len(body) < int(head.lower().split(b"content-length: ")[1].split()[0]):
            return
        self.received = b""
        if json.loads(body)["model"] != HANGS:
            asyncio.get_running_loop().call_later(CALL_S, self.answer, body, came_s)

    def answer(self, body: bytes, came_s: float) -> None:
        self.transport.write(ANSWER)
        if number := _NUMBER.search(body):
            taken_s[int(number[1])] = time.perf_counter() - came_s


async def serve_upstream(port: int) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Upstream, "127.0.0.1", port, backlog=1024)
    await server.serve_forever()


class Item(BaseModel):
    id: str
    response: str
    prompt: str = ""
    ground_truth: str = ""


class Request(BaseModel):
    samples: list[Item]
    profile: str = "judged"


def gateway(url: str) -> FastAPI:
    """Return a handler that judges each sample with one call."""
    app = FastAPI()
    limits = httpx2.Limits(max_connections=None, max_keepalive_connections=None)
    client = httpx2.AsyncClient(timeout=None, limits=limits, trust_env=False)
    turns = asyncio.Semaphore(IN_FLIGHT)

    async def judged(sample: Item) -> dict[str, Any]:
        asked = f"{sample.prompt}\n{sample.ground_truth}\n{sample.response}\nVerdict: yes or no?"
        message = {"role": "user", "content": asked}
        async with turns:
            answer = await client.post(url, json={"model": "m", "messages": [message]})
        said: str = answer.json()["choices"][0]["message"]["content"]
        return {"id": sample.id, "reward": float(said.endswith("Verdict: yes"))}

    @app.post("/score")
    async def score(request: Request) -> dict[str, Any]:
        return {"results": await asyncio.gather(*map(judged, request.samples))}

    return app


# Stop LiteLLM from contacting other hosts, and allow it to serve on loopback without a key.
LITELLM_SETTINGS = {
    "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "true",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "LITELLM_LOG": "ERROR",
    "HF_HUB_OFFLINE": "1",
}


def litellm_command(environment: Path, folder: Path, port: int, upstream: int) -> list[str]:
    """Write LiteLLM's config, and return the command that starts its proxy in front of the
    endpoint."""
    about = {
        "model": "openai/m",
        "api_base": f"http://127.0.0.1:{upstream}/v1",
        "api_key": "none",
    }
    config = folder / "litellm.yaml"
    config.write_text(
        yaml.safe_dump({"model_list": [{"model_name": "m", "litellm_params": about}]})
    )
    words = ["--config", str(config), "--host", "127.0.0.1", "--port", str(port)]
    return [str(environment / "bin" / "litellm"), *words, "--telemetry", "False"]


def main(name: str, port: int, url: str = "") -> None:
    if name == "upstream":
        asyncio.run(serve_upstream(port))
    else:
        uvicorn.run(gateway(url), host="127.0.0.1", port=port, log_level="warning")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), *sys.argv[3:])
